//! A tensor beside the model, for hooks to read.

use burn::tensor::{Gradients, Tensor};

use super::{
    kept::{Kept, Stepping, Stored},
    slot::{Slot, flat},
};
use crate::{kernel, model::Parameter};

/// A matrix of a method's own, trained or frozen.
#[derive(Debug)]
pub(super) struct Own {
    /// `None` only inside a step.
    value: Option<Tensor<2>>,
    /// AdamW's moments `[2, len]` of one that is trained; `None` also inside a step.
    moments: Option<Tensor<2>>,
    trained: bool,
    slot: Slot<2>,
}

impl Own {
    pub(super) fn new(value: Tensor<2>, moments: Option<Tensor<2>>) -> Self {
        Self { value: Some(value), trained: moments.is_some(), moments, slot: Slot::default() }
    }

    fn value(&self) -> &Tensor<2> {
        self.value.as_ref().expect("values are back after every step")
    }
}

impl Kept for Own {
    fn track(&mut self, _parameters: &[&Parameter]) {
        if self.trained {
            let value = self.value().clone();
            self.slot.track(value);
        }
    }

    fn release(&mut self) {
        self.slot.release();
    }

    fn matrix(&self) -> Option<Tensor<2>> {
        Some(self.slot.leaf().unwrap_or_else(|| self.value().clone()))
    }

    fn hook(&self, _parameters: &mut [&mut Parameter]) {}

    fn collect(&mut self, gradients: &mut Gradients) {
        self.slot.collect(gradients);
    }

    fn gradient(&self) -> Option<Tensor<1>> {
        self.slot.gradient()
    }

    fn step(&mut self, _parameters: &mut [&mut Parameter], stepping: &Stepping) {
        if !self.trained {
            return;
        }
        let value = self.value.take().expect("values are back after every step");
        let gradient = self.slot.take_gradient(&value);
        let moments = self.moments.take().expect("moments are back after every step");
        let (value, moments) =
            kernel::dense_step(value, moments, gradient, stepping.squared_norm.clone(), *stepping.settings);
        (self.value, self.moments) = (Some(value), Some(moments));
    }

    fn stored(&self, _parameters: &[&Parameter]) -> Option<Stored> {
        let moments = self.trained.then(|| self.moments.clone().expect("moments are back after every step"))?;
        Some(Stored { suffix: "", value: flat(self.value().clone()), moments: flat(moments), indices: None })
    }
}
