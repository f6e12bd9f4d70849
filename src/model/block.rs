//! One transformer block: attention and a feed-forward layer on a residual stream, with norms before, around or after.

use burn::tensor::Tensor;

use super::{
    architecture::{Activation, Architecture, BlockKind, NormPlacement},
    attention::{Attention, KeyValues, Layout},
    linear::{Linear, Norm},
    parameter::{ParameterSource, Role, parts},
};
use crate::kernel;

/// Feed-forward layer, gated (Shazeer 2020) or plain.
#[derive(Debug)]
pub struct FeedForward {
    /// `[F, D]`, the activated projection of a gated layer.
    pub gate: Option<Linear>,
    /// `[F, D]`.
    pub up: Linear,
    /// `[D, F]`.
    pub down: Linear,
}

parts!(FeedForward: gate, up, down);

impl FeedForward {
    /// Added to `onto` if that is given.
    fn forward(&self, x: Tensor<2>, activation: Activation, onto: Option<Tensor<2>>) -> Tensor<2> {
        let hidden = match &self.gate {
            Some(gate) => kernel::gated(gate.forward(x.clone()), self.up.forward(x), activation),
            None => kernel::activate(self.up.forward(x), activation),
        };
        self.down.forward_onto(hidden, onto)
    }
}

/// One block.
#[derive(Debug)]
pub struct Block {
    pub(crate) attention_norm: Option<Norm>,
    pub(crate) attention: Attention,
    pub(crate) attention_output_norm: Option<Norm>,
    pub(crate) feed_forward_norm: Option<Norm>,
    pub(crate) feed_forward: FeedForward,
    pub(crate) feed_forward_output_norm: Option<Norm>,
    kind: BlockKind,
}

parts!(Block: attention_norm, attention, attention_output_norm, feed_forward_norm, feed_forward, feed_forward_output_norm);

impl Block {
    /// Asks `source` for the tensors of block `layer`.
    pub(super) fn new(source: &mut dyn ParameterSource, a: &Architecture, layer: usize) -> Self {
        let names = a.names;
        let path = |part: &str| format!("{}{}{layer}.{part}", names.prefix, names.block);
        let before = a.placement != NormPlacement::After;
        let behind = a.placement != NormPlacement::Before;
        let role = if a.transposed { Role::TransposedLinear } else { Role::Linear };
        let (d, f) = (a.hidden_size, a.intermediate_size);
        Self {
            attention_norm: before.then(|| Norm::new(source, &path(names.attention_norm), a, d)),
            attention: Attention::new(source, a, role, path),
            attention_output_norm: behind.then(|| Norm::new(source, &path(names.attention_output_norm), a, d)),
            feed_forward_norm: before.then(|| Norm::new(source, &path(names.feed_forward_norm), a, d)),
            feed_forward: FeedForward {
                gate: a.gated.then(|| Linear::new(source, &path(names.gate), [f, d], a.mlp_bias, role)),
                up: Linear::new(source, &path(names.up), [f, d], a.mlp_bias, role),
                down: Linear::new(source, &path(names.down), [d, f], a.mlp_bias, role),
            },
            feed_forward_output_norm: behind.then(|| Norm::new(source, &path(names.feed_forward_output_norm), a, d)),
            kind: a.blocks[layer],
        }
    }

    /// `[B * T, D]` for `x` `[B * T, D]`; with `past`, attending to the earlier positions as well, which it extends.
    pub(super) fn forward(
        &self,
        a: &Architecture,
        x: Tensor<2>,
        layout: &Layout,
        past: Option<&mut Option<KeyValues>>,
    ) -> Tensor<2> {
        let before = |norm: &Option<Norm>, x: Tensor<2>| match norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        // A part whose output goes through a norm of its own is added to the stream behind that.
        let around = a.placement == NormPlacement::Around;
        let onto = |x: &Tensor<2>| (!around).then(|| x.clone());
        let join = |norm: &Option<Norm>, x: Tensor<2>, part: Tensor<2>| match norm {
            Some(norm) if around => x + norm.forward(part),
            Some(norm) => norm.forward(part),
            None => part,
        };
        let normed = before(&self.attention_norm, x.clone());
        let attended = self.attention.forward(a, self.kind, normed, onto(&x), layout, past);
        let x = join(&self.attention_output_norm, x, attended);
        let fed = self.feed_forward.forward(before(&self.feed_forward_norm, x.clone()), a.activation, onto(&x));
        join(&self.feed_forward_output_norm, x, fed)
    }
}
