//! A parameter of the model that is trained as a whole, in place.

use burn::tensor::{Gradients, Int, Tensor};

use super::{
    kept::{Kept, Stepping, Stored},
    slot::{Slot, flat},
};
use crate::{
    kernel::{self, Matrix},
    model::{Adaptation, LinearCall, Parameter},
};

/// One parameter, kept in f32.
#[derive(Debug)]
pub(super) struct Whole {
    /// Where it stands among the model's parameters.
    place: usize,
    /// AdamW's moments `[2, len]`; `None` only inside a step.
    moments: Option<Tensor<2>>,
    slot: Slot<2>,
}

/// The weight itself, tracked.
#[derive(Debug)]
pub(in crate::method) struct TrackedWhole(pub Tensor<2>);

impl Adaptation for TrackedWhole {
    fn linear(&self, layer: LinearCall<'_>) -> Tensor<2> {
        let transposed = layer.transposed;
        layer.with_added(|x, _, added| kernel::linear(x, self.0.clone(), added, transposed))
    }

    fn embed(&self, ids: Tensor<1, Int>, _weight: &Matrix) -> Tensor<2> {
        self.0.clone().select(0, ids)
    }

    fn small(&self, _weight: &Matrix) -> Tensor<2> {
        self.0.clone()
    }
}

impl Whole {
    pub(super) fn new(place: usize, moments: Tensor<2>) -> Self {
        Self { place, moments: Some(moments), slot: Slot::default() }
    }
}

impl Kept for Whole {
    fn track(&mut self, parameters: &[&Parameter]) {
        self.slot.track(parameters[self.place].value().dense());
    }

    fn release(&mut self) {
        self.slot.release();
    }

    fn matrix(&self) -> Option<Tensor<2>> {
        None
    }

    fn hook(&self, parameters: &mut [&mut Parameter]) {
        parameters[self.place].adaptation = self.slot.leaf().map(|leaf| {
            let hook: Box<dyn Adaptation> = Box::new(TrackedWhole(leaf));
            hook
        });
    }

    fn collect(&mut self, gradients: &mut Gradients) {
        self.slot.collect(gradients);
    }

    fn gradient(&self) -> Option<Tensor<1>> {
        self.slot.gradient()
    }

    fn step(&mut self, parameters: &mut [&mut Parameter], stepping: &Stepping) {
        let moments = self.moments.take().expect("moments are back after every step");
        let (slot, kept) = (&mut self.slot, &mut self.moments);
        parameters[self.place].update(|weight| {
            let weight = weight.into_dense();
            let gradient = slot.take_gradient(&weight);
            let (weight, moments) =
                kernel::dense_step(weight, moments, gradient, stepping.squared_norm.clone(), *stepping.settings);
            *kept = Some(moments);
            Matrix::Dense(weight)
        });
    }

    fn stored(&self, parameters: &[&Parameter]) -> Option<Stored> {
        let moments = self.moments.clone().expect("moments are back after every step");
        let value = parameters[self.place].value().dense();
        Some(Stored { suffix: "", value: flat(value), moments: flat(moments), indices: None })
    }
}
