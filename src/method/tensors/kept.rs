//! What every place where a tensor can live has in common.

use std::fmt::Debug;

use burn::tensor::{Gradients, Int, Tensor};

use crate::{kernel::AdamW, model::Parameter};

/// What a step needs besides gradients.
pub(super) struct Stepping<'a> {
    pub settings: &'a AdamW,
    /// Of all gradients together `[1]`, before clipping.
    pub squared_norm: &'a Tensor<1>,
}

/// What adapters and checkpoints hold of a tensor.
pub(super) struct Stored {
    /// What its values' name has behind the tensor's.
    pub suffix: &'static str,
    pub value: Tensor<1>,
    pub moments: Tensor<1>,
    /// Indices of chosen entries, and whether a seed gives them too.
    pub indices: Option<(Tensor<1, Int>, bool)>,
}

/// A tensor in one of the places where it can live. `parameters` are all of the model's.
pub(super) trait Kept: Debug {
    /// Makes a fresh tracked leaf.
    fn track(&mut self, parameters: &[&Parameter]);
    /// Lets go of the leaf.
    fn release(&mut self);
    /// What hooks read: the leaf or, without one, the value.
    fn matrix(&self) -> Option<Tensor<2>>;
    /// Has a parameter of the model compute with the leaf, or without any.
    fn hook(&self, parameters: &mut [&mut Parameter]);
    /// Adds up the gradient of the leaf.
    fn collect(&mut self, gradients: &mut Gradients);
    /// The collected gradient.
    fn gradient(&self) -> Option<Tensor<1>>;
    /// One optimizer step, in place.
    fn step(&mut self, parameters: &mut [&mut Parameter], stepping: &Stepping);
    /// What is stored; `None` for what is frozen.
    fn stored(&self, parameters: &[&Parameter]) -> Option<Stored>;
    /// Puts the pretrained values back into the parameter, bit for bit, or the changed ones in again; only where it is chosen
    /// entries, which the parameter holds as well.
    fn set_applied(&self, _parameters: &mut [&mut Parameter], _applied: bool) {}
}
