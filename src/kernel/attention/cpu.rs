//! Attention in plain Rust: strips of scores, a few query positions by all keys that they see, one after the other.

mod backward;
mod forward;

use std::ops::Range;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use backward::{Backward, backward_task};
use forward::forward_task;

use super::{AttentionPasses, AttentionRule, AttentionState, Extent};
use crate::kernel::{flex, product::PANEL, vector::sigmoid};

/// Query positions of one task of the forward pass.
const TASK: usize = 64;
/// Numbers in a strip of scores: a few strips stay in a core's second-level cache.
const STRIP: usize = 16_384;
/// Query positions of a strip at most. Where later keys are hidden, a strip computes half a square of this size in vain.
const MOST: usize = 64;
const MOST_CAUSAL: usize = 32;
/// With as many tasks the heads that share keys stay together.
const TASKS: usize = 16;

/// The operands of a call, as slices.
#[derive(Clone, Copy)]
struct Operands<'a> {
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    /// `[B * S]`, or empty where nothing is padded.
    padding: &'a [u32],
    extent: Extent,
    rule: AttentionRule,
}

/// Buffers that a thread uses again from task to task.
#[derive(Default)]
struct Scratch {
    transposed_keys: Vec<f32>,
    transposed_values: Vec<f32>,
    /// What products mix: values going forward, keys going backward.
    mixable: Vec<f32>,
    queries: Vec<f32>,
    grads: Vec<f32>,
    scores: Vec<f32>,
    score_grads: Vec<f32>,
    mixed: Vec<f32>,
    key_grads: Vec<f32>,
    value_grads: Vec<f32>,
}

/// Keys of one head that a strip computes scores of: those that its first query sees to those that its last one sees, from
/// the start of a panel.
#[derive(Clone, Copy)]
struct Span {
    first: usize,
    len: usize,
    /// `len` and what fills up the last panel.
    stride: usize,
}

impl<'a> Operands<'a> {
    /// Keys that any query at `positions` may see.
    fn seen_from(&self, positions: &Range<usize>) -> Range<usize> {
        let start = self.extent.start();
        let (first, last) = (start + positions.start, start + positions.end - 1);
        self.rule.visible(first, self.extent.keys).start..self.rule.visible(last, self.extent.keys).end
    }

    /// The span of the queries at `positions`, in panels that begin at key `origin`.
    fn span(&self, positions: &Range<usize>, origin: usize) -> Span {
        let keys = self.seen_from(positions);
        let first = keys.start - (keys.start - origin) % PANEL;
        let len = keys.end - first;
        Span { first, len, stride: len.next_multiple_of(PANEL) }
    }

    /// Query positions of a strip.
    fn step(&self, keys: usize) -> usize {
        let most = if self.rule.causal { MOST_CAUSAL } else { MOST };
        (STRIP / keys.next_multiple_of(PANEL) / 4 * 4).clamp(4, most)
    }

    /// Index of a query's, a result's or their gradients' first number.
    fn query(&self, sequence: usize, position: usize, head: usize) -> usize {
        ((sequence * self.extent.width + position) * self.extent.heads + head) * self.extent.head_dim
    }

    /// Index of a key's or value's first number.
    fn key(&self, sequence: usize, key: usize, kv_head: usize) -> usize {
        ((sequence * self.extent.keys + key) * self.extent.kv_heads + kv_head) * self.extent.head_dim
    }

    /// Numbers from one position to the next.
    fn strides(&self) -> [usize; 2] {
        [self.extent.heads * self.extent.head_dim, self.extent.kv_heads * self.extent.head_dim]
    }

    /// The padding flags of `keys`.
    fn flags(&self, sequence: usize, keys: &Range<usize>) -> &'a [u32] {
        match self.padding {
            [] => &[],
            padding => &padding[sequence * self.extent.keys..][keys.clone()],
        }
    }
}

/// The rows of a result `[sequences, positions, pieces, width]` that each task writes: those of one piece at `step`
/// positions in a row. A result that nobody wants is empty, and so are its tasks.
fn tasks(values: &mut [f32], [sequences, positions, pieces, width]: [usize; 4], step: usize) -> Vec<Vec<&mut [f32]>> {
    let steps = positions.div_ceil(step);
    let each = if values.is_empty() { 0 } else { step.min(positions) };
    let mut tasks: Vec<Vec<&mut [f32]>> = (0..sequences * pieces * steps).map(|_| Vec::with_capacity(each)).collect();
    for (at, row) in values.chunks_exact_mut(width).enumerate() {
        let (position, piece) = (at / pieces, at % pieces);
        let (sequence, position) = (position / positions, position % positions);
        tasks[(sequence * pieces + piece) * steps + position / step].push(row);
    }
    tasks
}

/// `cap * tanh(x / cap)`.
#[inline(always)]
fn capped(x: f32, cap: f32) -> f32 {
    cap * (2.0 * sigmoid(2.0 * x / cap) - 1.0)
}

/// Sums of `each` rows of `width` numbers.
fn summed(rows: &[f32], each: usize, width: usize) -> Vec<f32> {
    let mut sums = vec![0.0; rows.len() / each];
    sums.par_chunks_mut(width).zip(rows.par_chunks(each * width)).with_min_len(64).for_each(|(sum, rows)| {
        for row in rows.chunks_exact(width) {
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    });
    sums
}

/// `padding`, or nothing where it is not as long as all keys.
fn flags<'a>(padding: &'a [u32], extent: &Extent) -> &'a [u32] {
    if padding.len() == extent.sequences * extent.keys { padding } else { &[] }
}

fn extent(queries: &FlexTensor, keys: &FlexTensor) -> Extent {
    Extent::new(queries.layout().shape().dims(), keys.layout().shape().dims())
}

impl AttentionPasses for Flex {
    fn attention_forward(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        padding: IntTensor<Self>,
        rule: AttentionRule,
    ) -> [FloatTensor<Self>; 2] {
        let [queries, keys, values, padding] = [queries, keys, values, padding].map(flex::contiguous);
        let extent = extent(&queries, &keys);
        let padding = flex::indices(&padding);
        let [queries, keys, values] = [&queries, &keys, &values].map(flex::floats);
        let operands = Operands { queries, keys, values, padding: flags(&padding, &extent), extent, rule };
        let Extent { sequences, width, heads, kv_heads, head_dim, .. } = extent;
        let mut result = vec![0.0; sequences * width * heads * head_dim];
        let mut logs = vec![0.0; sequences * width * heads];
        let group = extent.group();
        let results = tasks(&mut result, [sequences, width, kv_heads, group * head_dim], TASK);
        let all_logs = tasks(&mut logs, [sequences, width, kv_heads, group], TASK);
        let steps = width.div_ceil(TASK);
        results.into_par_iter().zip(all_logs).enumerate().for_each_init(
            Scratch::default,
            |scratch, (task, (mut result, mut logs))| {
                let (head, start) = (task / steps, task % steps * TASK);
                let place = [head / kv_heads, head % kv_heads];
                let positions = start..width.min(start + TASK);
                forward_task(&operands, scratch, place, positions, &mut result, &mut logs);
            },
        );
        [flex::tensor(result, [sequences, width, heads, head_dim]), flex::tensor(logs, [sequences, width, heads])]
    }

    fn attention_backward(
        kept: AttentionState<Self>,
        grad: FloatTensor<Self>,
        wanted: [bool; 2],
    ) -> (Option<FloatTensor<Self>>, Option<[FloatTensor<Self>; 2]>) {
        let [queries, keys, values, padding] =
            [kept.queries, kept.keys, kept.values, kept.padding].map(flex::contiguous);
        let extent = extent(&queries, &keys);
        let padding = flex::indices(&padding);
        let grad = flex::contiguous(grad);
        let pass = Backward {
            operands: Operands {
                queries: flex::floats(&queries),
                keys: flex::floats(&keys),
                values: flex::floats(&values),
                padding: flags(&padding, &extent),
                extent,
                rule: kept.rule,
            },
            result: flex::floats(&kept.result),
            grad: flex::floats(&grad),
            logs: flex::floats(&kept.logs),
            wanted,
        };
        let Extent { sequences, width, keys, heads, kv_heads, head_dim } = extent;
        // Heads that share keys can share their transposes too, unless too few tasks would be left.
        let share = if sequences * kv_heads >= TASKS { extent.group() } else { 1 };
        let pieces = heads / share;
        let space = |wanted: bool, [a, b, c, d]: [usize; 4]| vec![0.0; if wanted { a * b * c * d } else { 0 }];
        let query_dims = [sequences, width, pieces, share * head_dim];
        let key_dims = [sequences, keys, pieces, head_dim];
        let mut query_grad = space(wanted[0], query_dims);
        let mut others = [(); 2].map(|()| space(wanted[1], key_dims));
        let [key_grad, value_grad] = &mut others;
        tasks(&mut query_grad, query_dims, width)
            .into_par_iter()
            .zip(tasks(key_grad, key_dims, keys))
            .zip(tasks(value_grad, key_dims, keys))
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (task, ((mut query_grads, mut key_grads), mut value_grads))| {
                let first = task % pieces * share;
                let grads = [&mut query_grads[..], &mut key_grads[..], &mut value_grads[..]];
                backward_task(&pass, scratch, task / pieces, first..first + share, grads);
            });
        let query_grad = wanted[0].then(|| flex::tensor(query_grad, [sequences, width, heads, head_dim]));
        let others = wanted[1].then(|| {
            others.map(|grad| {
                let each = pieces / kv_heads;
                let grad = if each == 1 { grad } else { summed(&grad, each, head_dim) };
                flex::tensor(grad, [sequences, keys, kv_heads, head_dim])
            })
        });
        (query_grad, others)
    }
}
