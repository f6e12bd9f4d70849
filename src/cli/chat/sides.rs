//! One model with and without its adapter: the weights that differ are kept in both versions and exchanged.

use std::collections::BTreeSet;

use burn::tensor::Tensor;

use crate::{
    Result,
    device::{self, ComputeDevice},
    method::adapter::Adapter,
    model::{Pretrained, Transformer},
};

/// The side of the model that is not in use.
#[derive(Debug)]
pub(super) struct Sides {
    /// Name of the adapter's folder.
    pub name: String,
    /// Whether the model answers with its adapter.
    pub on: bool,
    /// Values of the other side, by parameter.
    others: Vec<(String, Tensor<2>)>,
}

impl Sides {
    /// Applies the adapter and keeps the values that it replaces.
    ///
    /// # Errors
    /// Another base model, or values that do not fit.
    pub(super) async fn apply(adapter: &Adapter, base: &mut Pretrained, device: &ComputeDevice) -> Result<Self> {
        let listed = adapter.info.settings["tensors"].as_array();
        let touched: BTreeSet<&str> =
            listed.into_iter().flatten().filter_map(|tensor| tensor["name"].as_str()).collect();
        let mut others = Vec::new();
        for parameter in base.transformer.parameters() {
            // An adapter that does not list its tensors may change any.
            if touched.is_empty() || touched.contains(parameter.name.as_str()) {
                // A copy with memory of its own: adapters write in place, which a second handle would see.
                let values = device::read(parameter.value().clone()).await?;
                others.push((parameter.name.clone(), device.floats(values, parameter.matrix_dims())));
            }
        }
        adapter.apply(base, device)?;
        let name = adapter.folder.file_name().map_or_else(|| "adapter".into(), |name| name.to_string_lossy().into());
        Ok(Self { name, on: true, others })
    }

    /// Takes the adapter off, or puts it back on: bit for bit, and as fast as exchanging handles.
    pub(super) fn toggle(&mut self, transformer: &mut Transformer) {
        for parameter in transformer.parameters_mut() {
            if let Some((_, other)) = self.others.iter_mut().find(|(name, _)| *name == parameter.name) {
                parameter.update(|value| std::mem::replace(other, value));
            }
        }
        self.on = !self.on;
    }
}
