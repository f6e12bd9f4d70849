//! AdamW's numbers for one step, and the update itself in plain Rust (`shaders/shared/adamw.wgsl` in words of the CPU).

use burn::tensor::Tensor;

/// The settings of one AdamW step (Loshchilov and Hutter 2019, algorithm 2; epsilon placed as in PyTorch).
///
/// Field order and size are those of the WGSL struct of the same name.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct AdamW {
    /// Step size.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the denominator.
    pub epsilon: f32,
    /// Decoupled weight decay, multiplied by the learning rate.
    pub weight_decay: f32,
    /// `1 - beta1^step`, the first step being 1.
    pub correction1: f32,
    /// `1 - beta2^step`.
    pub correction2: f32,
    /// Bound on the global gradient norm; 0 switches clipping off.
    pub max_norm: f32,
}

impl AdamW {
    /// Factor that brings a global gradient norm down to `max_norm` (PyTorch's `clip_grad_norm_`).
    pub fn clip_factor(&self, squared_norm: f32) -> f32 {
        if self.max_norm > 0.0 { (self.max_norm / (squared_norm.sqrt() + 1e-6)).min(1.0) } else { 1.0 }
    }

    /// One update of one number: (value, first moment, second moment), from an already clipped gradient.
    #[inline(always)]
    pub fn update(&self, value: f32, first: f32, second: f32, grad: f32) -> (f32, f32, f32) {
        let m = self.beta1 * first + (1.0 - self.beta1) * grad;
        let v = self.beta2 * second + (1.0 - self.beta2) * grad * grad;
        let decayed = value * (1.0 - self.learning_rate * self.weight_decay);
        let denominator = v.sqrt() / self.correction2.sqrt() + self.epsilon;
        (decayed - self.learning_rate / self.correction1 * m / denominator, m, v)
    }

    /// The same update composed of Burn operations, on whole tensors `[N]`.
    pub fn update_composed(
        &self,
        value: Tensor<1>,
        first: Tensor<1>,
        second: Tensor<1>,
        grad: Tensor<1>,
        squared_norm: Tensor<1>,
    ) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
        let grad = if self.max_norm > 0.0 {
            grad * squared_norm.sqrt().add_scalar(1e-6).recip().mul_scalar(self.max_norm).clamp_max(1.0)
        } else {
            grad
        };
        let m = first.mul_scalar(self.beta1) + grad.clone().mul_scalar(1.0 - self.beta1);
        let v = second.mul_scalar(self.beta2) + (grad.clone() * grad).mul_scalar(1.0 - self.beta2);
        let decayed = value.mul_scalar(1.0 - self.learning_rate * self.weight_decay);
        let denominator = v.clone().sqrt().div_scalar(self.correction2.sqrt()).add_scalar(self.epsilon);
        (decayed - m.clone().mul_scalar(self.learning_rate / self.correction1) / denominator, m, v)
    }
}
