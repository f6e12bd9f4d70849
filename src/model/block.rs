//! One transformer block: attention and a feed-forward layer on a residual stream, with norms where the family has them.

use burn::tensor::Tensor;

use super::{
    architecture::{Activation, Architecture, BlockFacts, FeedForwardKind, NormPlacement},
    attention::{Attention, KeyValues, Layout},
    linear::{Linear, Norm},
    parameter::{ParameterSource, Role, parts},
};
use crate::kernel;

/// Feed-forward layer.
#[derive(Debug)]
pub struct FeedForward {
    /// `[F, D]`, the activated projection of a gated layer.
    pub gate: Option<Linear>,
    /// `[F, D]`, or `[2 F, D]` where the gate is its first half.
    pub up: Linear,
    /// `[D, F]`.
    pub down: Linear,
    pub(crate) kind: FeedForwardKind,
}

parts!(FeedForward: gate, up, down);

impl FeedForward {
    fn new(
        source: &mut dyn ParameterSource,
        a: &Architecture,
        kind: FeedForwardKind,
        role: Role,
        path: impl Fn(&str) -> String,
    ) -> Self {
        let (names, d, f) = (a.names, a.hidden_size, a.intermediate_size);
        let mut layer = |name: &str, dims: [usize; 2]| Linear::new(source, &path(name), dims, a.mlp_bias, role);
        Self {
            gate: (kind == FeedForwardKind::Gated).then(|| layer(names.gate, [f, d])),
            up: match kind {
                FeedForwardKind::GatedFused => layer(names.gate_up, [2 * f, d]),
                _ => layer(names.up, [f, d]),
            },
            down: layer(names.down, [d, f]),
            kind,
        }
    }

    /// Added to `residual` if that is given.
    fn forward(&self, x: Tensor<2>, activation: Activation, residual: Option<Tensor<2>>) -> Tensor<2> {
        let hidden = match (self.kind, &self.gate) {
            (FeedForwardKind::Gated, Some(gate)) => {
                kernel::gated(gate.forward(x.clone()), self.up.forward(x), activation)
            }
            (FeedForwardKind::GatedFused, _) => {
                let both = self.up.forward(x);
                let [_, width] = both.dims();
                let [gate, up] = [0..width / 2, width / 2..width].map(|part| both.clone().slice_dim(1, part));
                kernel::gated(gate, up, activation)
            }
            _ => kernel::activate(self.up.forward(x), activation),
        };
        self.down.forward_onto(hidden, residual)
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
    /// The norm after the last block of an encoder, whose hidden states may be mixed before the head reads them.
    pub(crate) final_norm: Option<Norm>,
    pub(crate) facts: BlockFacts,
}

parts!(Block: attention_norm, attention, attention_output_norm, feed_forward_norm, feed_forward, feed_forward_output_norm,
    final_norm);

impl Block {
    /// Asks `source` for the tensors of block `layer`.
    pub(super) fn new(source: &mut dyn ParameterSource, a: &Architecture, layer: usize) -> Self {
        let (names, facts) = (a.names, a.blocks[layer]);
        let path = |part: &str| format!("{}{}{layer}.{part}", names.prefix, names.block);
        let role = if a.transposed { Role::TransposedLinear } else { Role::Linear };
        let (attention, feed_forward, d) = (facts.attention_norms, facts.feed_forward_norms, a.hidden_size);
        let norm = |source: &mut dyn ParameterSource, wanted: bool, name: &str| {
            wanted.then(|| Norm::new(source, &path(name), a, d))
        };
        let last = layer + 1 == a.layers() && a.final_norm && !a.causal;
        Self {
            attention_norm: norm(source, attention.before, names.attention_norm),
            attention: Attention::new(source, a, role, path),
            attention_output_norm: norm(source, attention.behind(), names.attention_output_norm),
            feed_forward_norm: norm(source, feed_forward.before, names.feed_forward_norm),
            feed_forward: FeedForward::new(source, a, facts.feed_forward, role, path),
            feed_forward_output_norm: norm(source, feed_forward.behind(), names.feed_forward_output_norm),
            final_norm: last.then(|| Norm::new(source, &format!("{}{}", names.prefix, names.norm), a, d)),
            facts,
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
        let facts = self.facts;
        let normed = |norm: &Option<Norm>, x: Tensor<2>| match norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        // A sub-layer whose output goes through a norm of its own is added to the stream behind that.
        let residual = |placed: NormPlacement, x: &Tensor<2>| (!placed.after).then(|| x.clone());
        let join = |norm: &Option<Norm>, placed: NormPlacement, x: Tensor<2>, part: Tensor<2>| {
            if placed.after { x + normed(norm, part) } else { normed(norm, part) }
        };
        let input = normed(&self.attention_norm, x.clone());
        let beside = facts.parallel.then(|| match &self.feed_forward_norm {
            Some(norm) => norm.forward(x.clone()),
            None => input.clone(),
        });
        let attended = self.attention.forward(a, facts, input, residual(facts.attention_norms, &x), layout, past);
        let x = join(&self.attention_output_norm, facts.attention_norms, x, attended);
        let input = beside.unwrap_or_else(|| normed(&self.feed_forward_norm, x.clone()));
        let fed = self.feed_forward.forward(input, a.activation, residual(facts.feed_forward_norms, &x));
        normed(&self.final_norm, join(&self.feed_forward_output_norm, facts.feed_forward_norms, x, fed))
    }
}
