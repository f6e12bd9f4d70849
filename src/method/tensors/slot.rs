//! Leaf and gradient of one tensor during a step.

use burn::tensor::{Gradients, Tensor};

/// The tracked leaf of a tensor, and the gradient that was collected so far.
#[derive(Debug, Default)]
pub(super) struct Slot<const D: usize> {
    leaf: Option<Tensor<D>>,
    gradient: Option<Tensor<D>>,
}

impl<const D: usize> Slot<D> {
    /// A fresh tracked leaf of `value`.
    pub(super) fn track(&mut self, value: Tensor<D>) {
        self.leaf = Some(Tensor::from_inner(value).require_grad());
    }

    /// The leaf, while there is one.
    pub(super) fn leaf(&self) -> Option<Tensor<D>> {
        self.leaf.clone()
    }

    /// Lets go of the leaf: it is a second handle of a tensor that the step writes in place.
    pub(super) fn release(&mut self) {
        self.leaf = None;
    }

    /// Adds the leaf's gradient of one backward pass to those collected so far.
    pub(super) fn collect(&mut self, gradients: &mut Gradients) {
        let new = self.leaf.as_ref().and_then(|leaf| leaf.grad_remove(gradients));
        self.gradient = match (self.gradient.take(), new) {
            (Some(sum), Some(new)) => Some(sum + new),
            (sum, new) => sum.or(new),
        };
    }

    /// The collected gradient as a vector.
    pub(super) fn gradient(&self) -> Option<Tensor<1>> {
        self.gradient.clone().map(flat)
    }

    /// Takes the collected gradient; what a step did not use has a gradient of zeros, so that its moments decay.
    pub(super) fn take_gradient(&mut self, value: &Tensor<D>) -> Tensor<D> {
        self.gradient.take().unwrap_or_else(|| Tensor::zeros(value.dims(), &value.device()))
    }
}

/// A tensor as a vector.
pub(super) fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let len = tensor.shape().num_elements();
    tensor.reshape([len])
}
