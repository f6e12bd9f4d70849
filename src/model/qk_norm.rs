//! Norms of queries and keys before they are rotated.

use burn::tensor::Tensor;

use super::{
    architecture::{Architecture, QkNorm},
    linear::Norm,
    parameter::{Parameter, ParameterSource, Parts, Role},
};
use crate::kernel;

/// The norm of the queries or of the keys of one block.
#[derive(Debug)]
pub enum HeadNorm {
    /// Each head for itself, with one scale for all.
    Head(Norm),
    /// All heads of a token together.
    Width(Norm),
    /// Each head for itself by LayerNorm, with scales `[head_dim]` of their own and no bias.
    OwnScales {
        /// One a head.
        scales: Vec<Parameter>,
        /// Added under the root.
        epsilon: f32,
    },
}

impl HeadNorm {
    /// Asks `source` for the norm `name` of so many heads.
    pub(super) fn new(
        source: &mut dyn ParameterSource,
        kind: QkNorm,
        name: &str,
        a: &Architecture,
        heads: usize,
    ) -> Self {
        match kind {
            QkNorm::Head => Self::Head(Norm::new(source, name, a, a.head_dim)),
            QkNorm::Width => Self::Width(Norm::new(source, name, a, heads * a.head_dim)),
            QkNorm::OwnScales => {
                let scale = |head| source.parameter(&format!("{name}.{head}.weight"), &[a.head_dim], Role::Norm);
                Self::OwnScales { scales: (0..heads).map(scale).collect(), epsilon: a.norm_eps as f32 }
            }
        }
    }

    /// `[T, heads * head_dim]` for `x` of that shape.
    pub(super) fn forward(&self, x: Tensor<2>, head_dim: usize) -> Tensor<2> {
        let [tokens, width] = x.dims();
        let by_head = |x: Tensor<2>| x.reshape([tokens * width / head_dim, head_dim]);
        match self {
            Self::Head(norm) => norm.forward(by_head(x)).reshape([tokens, width]),
            Self::Width(norm) => norm.forward(x),
            Self::OwnScales { scales, epsilon } => {
                let one = Tensor::ones([1, head_dim], &x.device());
                let none = Tensor::zeros([1, head_dim], &x.device());
                let x = kernel::layer_norm(by_head(x), one, none, *epsilon).reshape([tokens, width]);
                x * Tensor::cat(scales.iter().map(Parameter::small).collect(), 1)
            }
        }
    }
}

impl Parts for HeadNorm {
    fn gather<'a>(&'a self, all: &mut Vec<&'a Parameter>) {
        match self {
            Self::Head(norm) | Self::Width(norm) => norm.gather(all),
            Self::OwnScales { scales, .. } => scales.gather(all),
        }
    }

    fn gather_mut<'a>(&'a mut self, all: &mut Vec<&'a mut Parameter>) {
        match self {
            Self::Head(norm) | Self::Width(norm) => norm.gather_mut(all),
            Self::OwnScales { scales, .. } => scales.gather_mut(all),
        }
    }
}
