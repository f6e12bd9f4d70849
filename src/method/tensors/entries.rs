//! Chosen entries of a parameter, trained as deltas on their pretrained values.
//!
//! The weight holds `base + delta` at all times, so the forward pass costs what inference costs; its gradient is formed at
//! the chosen entries alone. A quantized weight cannot hold single changed entries: there the deltas are kept separately.

use burn::tensor::{Gradients, Int, Tensor};

use super::{
    kept::{Kept, Stepping, Stored},
    slot::{Slot, flat},
};
use crate::{
    device::ComputeDevice,
    kernel::{self, Matrix, Pattern, matrix::write::Step},
    model::{Adaptation, LinearCall, Parameter},
};

/// The chosen entries of one parameter.
#[derive(Debug)]
pub(super) struct Entries {
    /// Where the parameter stands among the model's.
    place: usize,
    /// Sorted flat indices `[N]`.
    indices: Tensor<1, Int>,
    /// Pretrained values `[N]`.
    base: Tensor<1>,
    /// Trained deltas `[N]` and AdamW's moments `[2, N]`; `None` only inside a step.
    trained: Option<(Tensor<1>, Tensor<2>)>,
    /// Where the entries are, if the weight is quantized and the deltas are kept separately.
    separate: Option<Pattern>,
    /// Whether the indices can be drawn again from a seed.
    drawn: bool,
    slot: Slot<1>,
}

/// The hook in one parameter: its value is the weight that already holds the deltas; gradients go to `delta`. A quantized
/// weight does not hold them: there `delta` is added to the product.
#[derive(Debug)]
struct TrackedEntries {
    delta: Tensor<1>,
    indices: Tensor<1, Int>,
    separate: Option<Pattern>,
}

impl Adaptation for TrackedEntries {
    fn linear(&self, layer: LinearCall<'_>) -> Tensor<2> {
        let (delta, transposed) = (self.delta.clone(), layer.transposed);
        layer.with_added(|x, weight, added| match &self.separate {
            Some(pattern) => {
                let y = weight.linear(x.clone(), added, !transposed);
                kernel::add_sparse_product(y, x, delta, pattern, !transposed)
            }
            None => kernel::sparse_linear(x, weight, delta, self.indices.clone(), added, transposed),
        })
    }

    fn embed(&self, ids: Tensor<1, Int>, weight: &Matrix) -> Tensor<2> {
        kernel::sparse_embedding(ids, weight, self.delta.clone(), self.indices.clone())
    }

    fn small(&self, weight: &Matrix) -> Tensor<2> {
        kernel::sparse_tensor(weight.dense(), self.delta.clone(), self.indices.clone())
    }
}

impl Entries {
    /// The entries at `indices` of the parameter at `place`, which holds its pretrained values.
    pub(super) fn new(
        place: usize,
        parameter: &Parameter,
        indices: &[u32],
        drawn: bool,
        (delta, moments): (Tensor<1>, Tensor<2>),
        device: &ComputeDevice,
    ) -> Self {
        let on_device = device.indices(indices);
        let quantized = parameter.value().is_quantized();
        let separate = quantized.then(|| Pattern::new(indices, on_device.clone(), parameter.matrix_dims()));
        let base = parameter.value().at(on_device.clone());
        let trained = Some((delta, moments));
        Self { place, indices: on_device, base, trained, separate, drawn, slot: Slot::default() }
    }

    fn trained(&self) -> &(Tensor<1>, Tensor<2>) {
        self.trained.as_ref().expect("deltas are back after every step")
    }

    /// Puts `base + delta` into the weight, or the pretrained values back, bit for bit.
    pub(super) fn write(&self, parameters: &mut [&mut Parameter], applied: bool) {
        let (delta, _) = self.trained();
        if self.separate.is_some() {
            self.hook_with(parameters, applied.then(|| delta.clone()));
            return;
        }
        let values = if applied { self.base.clone() + delta.clone() } else { self.base.clone() };
        parameters[self.place].update(|weight| weight.write(self.indices.clone(), values));
    }

    fn hook_with(&self, parameters: &mut [&mut Parameter], delta: Option<Tensor<1>>) {
        parameters[self.place].adaptation = delta.map(|delta| {
            let (indices, separate) = (self.indices.clone(), self.separate.clone());
            let hook: Box<dyn Adaptation> = Box::new(TrackedEntries { delta, indices, separate });
            hook
        });
    }
}

impl Kept for Entries {
    fn track(&mut self, _parameters: &[&Parameter]) {
        let delta = self.trained().0.clone();
        self.slot.track(delta);
    }

    fn release(&mut self) {
        self.slot.release();
    }

    fn matrix(&self) -> Option<Tensor<2>> {
        None
    }

    fn hook(&self, parameters: &mut [&mut Parameter]) {
        // Deltas that are kept separately take part in every pass.
        let separate = || self.separate.is_some().then(|| self.trained().0.clone());
        self.hook_with(parameters, self.slot.leaf().or_else(separate));
    }

    fn collect(&mut self, gradients: &mut Gradients) {
        self.slot.collect(gradients);
    }

    fn gradient(&self) -> Option<Tensor<1>> {
        self.slot.gradient()
    }

    fn step(&mut self, parameters: &mut [&mut Parameter], stepping: &Stepping) {
        let (delta, moments) = self.trained.take().expect("deltas are back after every step");
        let gradient = self.slot.take_gradient(&delta);
        let kept = &mut self.trained;
        let step = Step {
            indices: self.indices.clone(),
            base: self.base.clone(),
            grad: gradient,
            squared_norm: stepping.squared_norm.clone(),
            settings: *stepping.settings,
        };
        parameters[self.place].update(|weight| {
            let (weight, delta, moments) = weight.step(delta, moments, step);
            *kept = Some((delta, moments));
            weight
        });
    }

    fn stored(&self, _parameters: &[&Parameter]) -> Option<Stored> {
        let (delta, moments) = self.trained().clone();
        let indices = Some((self.indices.clone(), self.drawn));
        Some(Stored { suffix: ".delta", value: delta, moments: flat(moments), indices })
    }

    fn set_applied(&self, parameters: &mut [&mut Parameter], applied: bool) {
        self.write(parameters, applied);
    }
}
