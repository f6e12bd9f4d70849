//! Attention in plain Rust: strips of scores, a few query positions by all keys that they see, one after the other.

use std::ops::Range;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::{AttentionPasses, AttentionRule, AttentionState, Extent};
use crate::kernel::{
    flex,
    product::{Left, Out, PANEL, Right, Sizes, multiply, transposed},
    vector::{dot, exp, largest, map_sum, sigmoid, wide},
};

/// Query positions of one task of the forward pass.
const TASK: usize = 64;
/// Numbers in a strip of scores: a few strips stay in a core's second-level cache.
const STRIP: usize = 16_384;
/// Query positions of a strip at most. Where later keys are hidden, a strip computes half a square of this size in vain.
const MOST: usize = 64;
const MOST_CAUSAL: usize = 32;
/// Fewer query rows than this are multiplied with the keys as they are: transposing them would cost more.
const FEW: usize = 4;
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
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    grads: Vec<f32>,
    mixed: Vec<f32>,
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

/// The pieces of `width` numbers of a result `[sequences, positions, pieces]`, by task: those of one piece at `step`
/// positions in a row.
fn tasks(values: &mut [f32], width: usize, positions: usize, pieces: usize, step: usize) -> Vec<Vec<&mut [f32]>> {
    let steps = positions.div_ceil(step);
    let sequences = values.len() / (width * positions * pieces);
    let mut tasks: Vec<Vec<&mut [f32]>> =
        (0..sequences * pieces * steps).map(|_| Vec::with_capacity(step.min(positions))).collect();
    for (at, piece) in values.chunks_exact_mut(width).enumerate() {
        let (row, kind) = (at / pieces, at % pieces);
        let (sequence, position) = (row / positions, row % positions);
        tasks[(sequence * pieces + kind) * steps + position / step].push(piece);
    }
    tasks
}

/// `cap * tanh(x / cap)`.
#[inline(always)]
fn capped(x: f32, cap: f32) -> f32 {
    cap * (2.0 * sigmoid(2.0 * x / cap) - 1.0)
}

/// Turns products of a query and the keys it sees into exponentials of scores less the largest. Returns their sum and its
/// logarithm, of the exponentials of the scores themselves; of a query that sees nothing, zeros.
#[inline(always)]
fn exponentials(scores: &mut [f32], padding: &[u32], rule: &AttentionRule) -> [f32; 2] {
    if scores.is_empty() || (!padding.is_empty() && padding.iter().fold(0, |any, kept| any | kept) == 0) {
        scores.fill(0.0);
        return [0.0; 2];
    }
    let mut scale = rule.scale;
    if let Some(cap) = rule.softcap {
        scores.iter_mut().for_each(|score| *score = capped(*score * scale, cap));
        scale = 1.0;
    }
    for (score, kept) in scores.iter_mut().zip(padding) {
        *score = if *kept == 0 { -1e30 } else { *score };
    }
    let top = largest(scores);
    let sum = map_sum(scores, |score| exp((score - top) * scale));
    [sum, top * scale + sum.ln()]
}

/// Turns products of a query with keys into probabilities, and those of its gradient with values into gradients of the
/// products of query and keys; `log` and `total` are what is known of the query.
#[inline(always)]
fn score_grads(scores: &mut [f32], grads: &mut [f32], padding: &[u32], rule: &AttentionRule, [log, total]: [f32; 2]) {
    match rule.softcap {
        None => {
            for (score, grad) in scores.iter_mut().zip(&mut *grads) {
                let p = exp(*score * rule.scale - log);
                *grad = rule.scale * p * (*grad - total);
                *score = p;
            }
        }
        Some(cap) => {
            for (score, grad) in scores.iter_mut().zip(&mut *grads) {
                let bent = capped(*score * rule.scale, cap);
                let p = exp(bent - log);
                let ratio = bent / cap;
                *grad = rule.scale * (1.0 - ratio * ratio) * p * (*grad - total);
                *score = p;
            }
        }
    }
    for ((score, grad), kept) in scores.iter_mut().zip(grads).zip(padding) {
        *score = if *kept == 0 { 0.0 } else { *score };
        *grad = if *kept == 0 { 0.0 } else { *grad };
    }
}

/// The mixes of one task and the logarithms of its queries' sums: `positions` of one key/value head.
fn forward_task(
    operands: &Operands,
    scratch: &mut Scratch,
    [sequence, kv_head]: [usize; 2],
    positions: Range<usize>,
    result: &mut [&mut [f32]],
    logs: &mut [&mut [f32]],
) {
    let Extent { head_dim, .. } = operands.extent;
    let (group, [query_stride, key_stride]) = (operands.extent.group(), operands.strides());
    let keys = operands.seen_from(&positions);
    let few = positions.len() * group < FEW;
    if !few {
        let first = &operands.keys[operands.key(sequence, keys.start, kv_head)..];
        transposed(&mut scratch.keys, first, key_stride, keys.len(), head_dim);
    }
    let step = operands.step(keys.len());
    let mut done = 0;
    while done < positions.len() {
        let strip = positions.start + done..positions.end.min(positions.start + done + step);
        let span = operands.span(&strip, keys.start);
        scratch.scores.resize(step * span.stride, 0.0);
        scratch.mixed.resize(step * head_dim, 0.0);
        for member in 0..group {
            let query = operands.query(sequence, strip.start, kv_head * group + member);
            let queries = &operands.queries[query..];
            let scores = &mut scratch.scores[..strip.len() * span.stride];
            if few {
                for (row, scores) in scores.chunks_exact_mut(span.stride).enumerate() {
                    let query = &queries[row * query_stride..][..head_dim];
                    let first = &operands.keys[operands.key(sequence, span.first, kv_head)..];
                    let keys = first.chunks(key_stride).map(|key| &key[..head_dim]);
                    wide!(scores.iter_mut().zip(keys).for_each(|(score, key)| *score = dot(query, key)));
                }
            } else {
                let panels = &scratch.keys[(span.first - keys.start) * head_dim..];
                multiply(
                    Out { values: scores, stride: span.stride, add: false },
                    Left { values: queries, row: query_stride, step: 1 },
                    Right { values: panels, row: PANEL, panel: PANEL * head_dim },
                    Sizes { rows: strip.len(), columns: span.stride, depth: head_dim },
                );
            }
            let mut sums = [0.0; MOST];
            for (row, (scores, sum)) in scores.chunks_exact_mut(span.stride).zip(&mut sums).enumerate() {
                let seen = operands.rule.visible(operands.extent.start() + strip.start + row, operands.extent.keys);
                let padding = operands.flags(sequence, &seen);
                let seen = seen.start - span.first..seen.end - span.first;
                scores[..seen.start].fill(0.0);
                scores[seen.end..].fill(0.0);
                let [total, log] = wide!(exponentials(&mut scores[seen], padding, &operands.rule));
                *sum = total;
                logs[done + row][member] = log;
            }
            multiply(
                Out { values: &mut scratch.mixed, stride: head_dim, add: false },
                Left { values: scores, row: span.stride, step: 1 },
                Right {
                    values: &operands.values[operands.key(sequence, span.first, kv_head)..],
                    row: key_stride,
                    panel: PANEL,
                },
                Sizes { rows: strip.len(), columns: head_dim, depth: span.len },
            );
            for (row, (mixed, sum)) in scratch.mixed.chunks_exact(head_dim).zip(&sums[..strip.len()]).enumerate() {
                let factor = if *sum == 0.0 { 0.0 } else { sum.recip() };
                let result = &mut result[done + row][member * head_dim..][..head_dim];
                result.iter_mut().zip(mixed).for_each(|(result, mixed)| *result = mixed * factor);
            }
        }
        done += strip.len();
    }
}

/// What the backward pass reads besides the operands.
#[derive(Clone, Copy)]
struct Backward<'a> {
    operands: Operands<'a>,
    result: &'a [f32],
    grad: &'a [f32],
    logs: &'a [f32],
    /// Gradients of queries, of keys and values.
    wanted: [bool; 2],
}

/// The backward pass for `heads` of one key/value head: writes the gradients of the queries and returns those of the keys
/// and values, `[S, head_dim]` each, or empty.
fn backward_task(
    pass: &Backward,
    scratch: &mut Scratch,
    sequence: usize,
    heads: Range<usize>,
    query_grads: &mut [&mut [f32]],
) -> [Vec<f32>; 2] {
    let operands = &pass.operands;
    let Extent { width, keys: length, head_dim, .. } = operands.extent;
    let (kv_head, [query_stride, key_stride]) = (heads.start / operands.extent.group(), operands.strides());
    let first = operands.key(sequence, 0, kv_head);
    transposed(&mut scratch.keys, &operands.keys[first..], key_stride, length, head_dim);
    transposed(&mut scratch.values, &operands.values[first..], key_stride, length, head_dim);
    let mut grads = [(); 2].map(|()| vec![0.0; if pass.wanted[1] { length * head_dim } else { 0 }]);
    let step = operands.step(length);
    for start in (0..width).step_by(step) {
        let strip = start..width.min(start + step);
        let span = operands.span(&strip, 0);
        let area = strip.len() * span.stride;
        scratch.scores.resize(scratch.scores.len().max(area), 0.0);
        scratch.grads.resize(scratch.grads.len().max(area), 0.0);
        scratch.mixed.resize(step * head_dim, 0.0);
        let (scores, score_grad) = (&mut scratch.scores[..area], &mut scratch.grads[..area]);
        for head in heads.clone() {
            let query = operands.query(sequence, start, head);
            let (queries, grad, result) = (&operands.queries[query..], &pass.grad[query..], &pass.result[query..]);
            let by_rows = |values| Left { values, row: query_stride, step: 1 };
            let panels = |values| Right { values, row: PANEL, panel: PANEL * head_dim };
            let sizes = Sizes { rows: strip.len(), columns: span.stride, depth: head_dim };
            let beyond = span.first * head_dim;
            let out = |values| Out { values, stride: span.stride, add: false };
            multiply(out(&mut *scores), by_rows(queries), panels(&scratch.keys[beyond..]), sizes);
            multiply(out(&mut *score_grad), by_rows(grad), panels(&scratch.values[beyond..]), sizes);
            let rows = scores.chunks_exact_mut(span.stride).zip(score_grad.chunks_exact_mut(span.stride));
            for (row, (scores, grads)) in rows.enumerate() {
                let seen = operands.rule.visible(operands.extent.start() + start + row, length);
                let padding = operands.flags(sequence, &seen);
                let seen = seen.start - span.first..seen.end - span.first;
                for values in [&mut *scores, &mut *grads] {
                    values[..seen.start].fill(0.0);
                    values[seen.end..].fill(0.0);
                }
                let log = pass.logs[(sequence * width + start + row) * operands.extent.heads + head];
                let at = row * query_stride;
                let (result, grad) = (&result[at..][..head_dim], &grad[at..][..head_dim]);
                wide!({
                    let known = [log, dot(result, grad)];
                    score_grads(&mut scores[seen.clone()], &mut grads[seen], padding, &operands.rule, known);
                });
            }
            if pass.wanted[1] {
                let sizes = Sizes { rows: span.len, columns: head_dim, depth: strip.len() };
                let right = |values| Right { values, row: query_stride, panel: PANEL };
                let by_columns = |values| Left { values, row: 1, step: span.stride };
                let [key_grad, value_grad] = &mut grads;
                let out = |values| Out { values, stride: head_dim, add: true };
                multiply(out(&mut key_grad[beyond..]), by_columns(&*score_grad), right(queries), sizes);
                multiply(out(&mut value_grad[beyond..]), by_columns(&*scores), right(grad), sizes);
            }
            if pass.wanted[0] {
                multiply(
                    Out { values: &mut scratch.mixed, stride: head_dim, add: false },
                    Left { values: &*score_grad, row: span.stride, step: 1 },
                    Right { values: &operands.keys[first + span.first * key_stride..], row: key_stride, panel: PANEL },
                    Sizes { rows: strip.len(), columns: head_dim, depth: span.len },
                );
                for (row, mixed) in scratch.mixed.chunks_exact(head_dim).take(strip.len()).enumerate() {
                    query_grads[start + row][(head - heads.start) * head_dim..][..head_dim].copy_from_slice(mixed);
                }
            }
        }
    }
    grads
}

/// Adds up what the tasks have found for each key/value head: `[B, S, K, head_dim]` from `[S, head_dim]` a task, where
/// `each` tasks in a row belong to one head.
fn gathered(parts: &[[Vec<f32>; 2]], which: usize, each: usize, extent: Extent) -> Vec<f32> {
    let Extent { sequences, keys, kv_heads, head_dim, .. } = extent;
    let mut sums = vec![0.0; sequences * keys * kv_heads * head_dim];
    sums.par_chunks_mut(kv_heads * head_dim).enumerate().with_min_len(16).for_each(|(row, heads)| {
        let (sequence, at) = (row / keys, row % keys * head_dim);
        for (kv_head, sum) in heads.chunks_exact_mut(head_dim).enumerate() {
            let first = (sequence * kv_heads + kv_head) * each;
            sum.copy_from_slice(&parts[first][which][at..][..head_dim]);
            for part in &parts[first + 1..first + each] {
                sum.iter_mut().zip(&part[which][at..][..head_dim]).for_each(|(sum, x)| *sum += x);
            }
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
        let results = tasks(&mut result, group * head_dim, width, kv_heads, TASK);
        let all_logs = tasks(&mut logs, group, width, kv_heads, TASK);
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
        [
            flex::tensor(result, [sequences, width, heads, head_dim]),
            flex::tensor(logs, [sequences, width, heads]),
        ]
    }

    fn attention_backward(
        kept: AttentionState<Self>,
        grad: FloatTensor<Self>,
        wanted: [bool; 2],
    ) -> (Option<FloatTensor<Self>>, Option<[FloatTensor<Self>; 2]>) {
        let [queries, keys, values, padding] = [kept.queries, kept.keys, kept.values, kept.padding].map(flex::contiguous);
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
        let mut query_grad = vec![0.0; sequences * width * heads * head_dim];
        let parts: Vec<[Vec<f32>; 2]> = tasks(&mut query_grad, share * head_dim, width, pieces, width)
            .into_par_iter()
            .enumerate()
            .map_init(Scratch::default, |scratch, (task, mut query_grads)| {
                let first = task % pieces * share;
                backward_task(&pass, scratch, task / pieces, first..first + share, &mut query_grads)
            })
            .collect();
        let query_grad = wanted[0].then(|| flex::tensor(query_grad, [sequences, width, heads, head_dim]));
        let others = wanted[1].then(|| {
            let each = extent.group() / share;
            [0, 1].map(|which| flex::tensor(gathered(&parts, which, each, extent), [sequences, keys, kv_heads, head_dim]))
        });
        (query_grad, others)
    }
}
