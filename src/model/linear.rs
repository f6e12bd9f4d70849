//! Linear layers and norms: the small parts that every block is made of.

use burn::tensor::Tensor;

use super::{
    architecture::{Architecture, NormKind},
    parameter::{Parameter, ParameterSource, Role, parts},
};
use crate::kernel;

/// A linear layer `y = x W^T + b`.
#[derive(Debug)]
pub struct Linear {
    /// `[outputs, inputs]`, or `[inputs, outputs]` where its role says so.
    pub weight: Parameter,
    /// `[outputs]`.
    pub bias: Option<Parameter>,
}

parts!(Linear: weight, bias);

impl Linear {
    /// Asks `source` for `name.weight` and, if there is one, `name.bias`.
    pub(super) fn new(
        source: &mut dyn ParameterSource,
        name: &str,
        [outputs, inputs]: [usize; 2],
        bias: bool,
        role: Role,
    ) -> Self {
        let dims = if role == Role::TransposedLinear { [inputs, outputs] } else { [outputs, inputs] };
        Self {
            weight: source.parameter(&format!("{name}.weight"), &dims, role),
            bias: bias.then(|| source.parameter(&format!("{name}.bias"), &[outputs], Role::Bias)),
        }
    }

    /// `[T, outputs]` for `x` `[T, inputs]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.forward_onto(x, None)
    }

    /// The same, added to `residual` `[T, outputs]` if that is given.
    pub fn forward_onto(&self, x: Tensor<2>, residual: Option<Tensor<2>>) -> Tensor<2> {
        self.weight.linear(x, self.bias.as_ref().map(Parameter::small), residual)
    }
}

/// A norm over the width of each activation.
#[derive(Debug)]
pub struct Norm {
    /// `[D]`.
    pub scale: Parameter,
    /// `[D]`, of a LayerNorm.
    pub bias: Option<Parameter>,
    kind: NormKind,
    epsilon: f32,
}

parts!(Norm: scale, bias);

impl Norm {
    /// Asks `source` for a norm over `width` entries.
    pub(super) fn new(source: &mut dyn ParameterSource, name: &str, a: &Architecture, width: usize) -> Self {
        let mut vector = |kind: &str, role| source.parameter(&format!("{name}.{kind}"), &[width], role);
        Self {
            scale: vector("weight", Role::Norm),
            bias: (a.norm == NormKind::Layer).then(|| vector("bias", Role::Bias)),
            kind: a.norm,
            epsilon: a.norm_eps as f32,
        }
    }

    /// `[N, D]` for `x` `[N, D]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let scale = self.scale.small();
        match (self.kind, &self.bias) {
            (NormKind::Layer, Some(bias)) => kernel::layer_norm(x, scale, bias.small(), self.epsilon),
            (NormKind::LayerWithoutBias, _) => {
                let none = Tensor::zeros(scale.dims(), &scale.device());
                kernel::layer_norm(x, scale, none, self.epsilon)
            }
            (NormKind::RmsOffset, _) => kernel::rms_norm(x, scale.add_scalar(1.0), self.epsilon),
            _ => kernel::rms_norm(x, scale, self.epsilon),
        }
    }
}
