//! A model whose tensors are on a device, stored as those of a checkpoint would be, and of which nobody cares what their
//! values are: for a device that has only sizes.

use super::{
    Keeping, Parameter, Transformer,
    architecture::Architecture,
    head::HeadKind,
    parameter::{ParameterSource, Role},
};
use crate::{
    device::ComputeDevice,
    kernel::{Matrix, Packing},
};

/// Gives parameters in the way that [`Loader`](super::weights::Loader) keeps them.
struct Hollow<'a> {
    stored: Option<Packing>,
    keeping: Keeping,
    /// What the names of the classification head's tensors begin with, if the model has one.
    classifier: Option<&'a str>,
    device: &'a ComputeDevice,
}

impl ParameterSource for Hollow<'_> {
    fn parameter(&mut self, name: &str, dims: &[usize], role: Role) -> Parameter {
        let classifier = self.classifier.is_some_and(|prefix| name.starts_with(prefix));
        let packing = self.keeping.packing(self.stored, dims, role, classifier);
        let limit = self.device.facts.max_binding_bytes.filter(|_| role.by_rows());
        let rows = if dims.len() == 1 { 1 } else { dims[0] };
        let value = Matrix::empty(packing, [rows, dims[dims.len() - 1]], self.device, limit);
        Parameter::new(name, dims.to_vec(), role, value)
    }
}

impl Transformer {
    /// A model of a checkpoint in the storage type that its architecture states, kept on `device` as `keeping` says, without
    /// reading or writing a value.
    pub fn without_values(
        architecture: Architecture,
        head: HeadKind,
        keeping: Keeping,
        device: &ComputeDevice,
    ) -> Self {
        let classifier = matches!(head, HeadKind::Classifier(_)).then_some(architecture.names.classifier);
        let mut source = Hollow { stored: architecture.stored, keeping, classifier, device };
        let transformer = Self::new(architecture, head, &device.handle, &mut source);
        transformer.prepare_products(device);
        transformer
    }
}
