//! What the forward and the backward pass read, where it lies, and how it is cut into strips.

use std::ops::Range;

use crate::kernel::{
    attention::{AttentionRule, Extent},
    product::PANEL,
    vector::sigmoid,
};

/// Numbers in a strip of scores: a few strips stay in a core's second-level cache.
const STRIP: usize = 16_384;
/// Query positions of a strip at most. Where later keys are hidden, a strip computes half a square of this size in vain.
pub(super) const MOST: usize = 64;
const MOST_CAUSAL: usize = 32;

/// The operands of a call, as slices.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub queries: &'a [f32],
    pub keys: &'a [f32],
    pub values: &'a [f32],
    /// `[B * S]`, or empty where nothing is padded.
    pub padding: &'a [u32],
    pub extent: Extent,
    pub rule: AttentionRule,
}

/// Buffers that a thread uses again from task to task.
#[derive(Default)]
pub(super) struct Scratch {
    pub transposed_keys: Vec<f32>,
    pub transposed_values: Vec<f32>,
    /// What products mix: values going forward, keys going backward.
    pub mixable: Vec<f32>,
    pub queries: Vec<f32>,
    pub grads: Vec<f32>,
    pub scores: Vec<f32>,
    pub score_grads: Vec<f32>,
    pub mixed: Vec<f32>,
    pub key_grads: Vec<f32>,
    pub value_grads: Vec<f32>,
}

/// Keys of one head that a strip computes scores of: those that its first query sees to those that its last one sees, from
/// the start of a panel.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub first: usize,
    pub len: usize,
    /// `len` and what fills up the last panel.
    pub stride: usize,
}

impl<'a> Operands<'a> {
    /// Keys that any query at `positions` may see.
    pub(super) fn seen_from(&self, positions: &Range<usize>) -> Range<usize> {
        let start = self.extent.start();
        let (first, last) = (start + positions.start, start + positions.end - 1);
        self.rule.visible(first, self.extent.keys).start..self.rule.visible(last, self.extent.keys).end
    }

    /// The span of the queries at `positions`, in panels that begin at key `origin`.
    pub(super) fn span(&self, positions: &Range<usize>, origin: usize) -> Span {
        let keys = self.seen_from(positions);
        let first = keys.start - (keys.start - origin) % PANEL;
        let len = keys.end - first;
        Span { first, len, stride: len.next_multiple_of(PANEL) }
    }

    /// Query positions of a strip.
    pub(super) fn step(&self, keys: usize) -> usize {
        let most = if self.rule.causal { MOST_CAUSAL } else { MOST };
        (STRIP / keys.next_multiple_of(PANEL) / 4 * 4).clamp(4, most)
    }

    /// Index of a query's, a result's or their gradients' first number.
    pub(super) fn query(&self, sequence: usize, position: usize, head: usize) -> usize {
        ((sequence * self.extent.width + position) * self.extent.heads + head) * self.extent.head_dim
    }

    /// Index of a key's or value's first number.
    pub(super) fn key(&self, sequence: usize, key: usize, kv_head: usize) -> usize {
        ((sequence * self.extent.keys + key) * self.extent.kv_heads + kv_head) * self.extent.head_dim
    }

    /// Numbers from one position to the next.
    pub(super) fn strides(&self) -> [usize; 2] {
        [self.extent.heads * self.extent.head_dim, self.extent.kv_heads * self.extent.head_dim]
    }

    /// The padding flags of `keys`.
    pub(super) fn flags(&self, sequence: usize, keys: &Range<usize>) -> &'a [u32] {
        match self.padding {
            [] => &[],
            padding => &padding[sequence * self.extent.keys..][keys.clone()],
        }
    }
}

/// `cap * tanh(x / cap)`.
#[inline(always)]
pub(super) fn capped(x: f32, cap: f32) -> f32 {
    cap * (2.0 * sigmoid(2.0 * x / cap) - 1.0)
}
