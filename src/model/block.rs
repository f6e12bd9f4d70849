//! One transformer block: attention and a feed-forward layer on a residual stream, with norms where the family has them.

use burn::tensor::Tensor;

use super::{
    architecture::{Activation, Architecture, BlockFacts, FeedForwardKind, NormPlacement},
    attention::{Attention, KeyValues, Layout},
    linear::{Linear, Norm},
    parameter::{Parameter, ParameterSource, Parts, Role, parts},
};
use crate::kernel;

/// Feed-forward layer.
#[derive(Debug)]
pub enum FeedForward {
    /// `up` `[F, D]`, `down` `[D, F]`.
    Plain([Linear; 2]),
    /// `gate` and `up` `[F, D]`, `down` `[D, F]` (Shazeer 2020); the gate is activated.
    Gated([Linear; 3]),
    /// `gate` above `up` `[2 F, D]`, `down` `[D, F]`.
    GatedFused([Linear; 2]),
}

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
        match kind {
            FeedForwardKind::Plain => Self::Plain([layer(names.up, [f, d]), layer(names.down, [d, f])]),
            FeedForwardKind::Gated => {
                Self::Gated([layer(names.gate, [f, d]), layer(names.up, [f, d]), layer(names.down, [d, f])])
            }
            FeedForwardKind::GatedFused => {
                Self::GatedFused([layer(names.gate_up, [2 * f, d]), layer(names.down, [d, f])])
            }
        }
    }

    /// Its layers, in the order in which they compute.
    fn layers(&self) -> &[Linear] {
        match self {
            Self::Plain(layers) | Self::GatedFused(layers) => layers,
            Self::Gated(layers) => layers,
        }
    }

    /// Added to `residual` if that is given.
    fn forward(&self, x: Tensor<2>, activation: Activation, residual: Option<Tensor<2>>) -> Tensor<2> {
        let (hidden, down) = match self {
            Self::Plain([up, down]) => (kernel::activate(up.forward(x), activation), down),
            Self::Gated([gate, up, down]) => (kernel::gated(gate.forward(x.clone()), up.forward(x), activation), down),
            Self::GatedFused([gate_up, down]) => {
                let both = gate_up.forward(x);
                let [_, width] = both.dims();
                let [gate, up] = [0..width / 2, width / 2..width].map(|part| both.clone().slice_dim(1, part));
                (kernel::gated(gate, up, activation), down)
            }
        };
        down.forward_onto(hidden, residual)
    }
}

impl Parts for FeedForward {
    fn gather<'a>(&'a self, all: &mut Vec<&'a Parameter>) {
        self.layers().iter().for_each(|layer| layer.gather(all));
    }

    fn gather_mut<'a>(&'a mut self, all: &mut Vec<&'a mut Parameter>) {
        match self {
            Self::Plain(layers) | Self::GatedFused(layers) => layers.gather_mut(all),
            Self::Gated(layers) => layers.gather_mut(all),
        }
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
