//! The backward pass of the query heads of one key/value head.

use std::ops::Range;

use super::operands::{Operands, Scratch, capped};
use crate::kernel::{
    attention::{AttentionRule, Extent},
    product::{Left, Out, PANEL, Right, Sizes, gathered, multiply, transposed},
    vector::{dot, exp, wide},
};

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

/// What the backward pass reads besides the operands.
#[derive(Clone, Copy)]
pub(super) struct Backward<'a> {
    pub operands: Operands<'a>,
    pub result: &'a [f32],
    pub grad: &'a [f32],
    pub logs: &'a [f32],
    /// Gradients of queries, of keys and values.
    pub wanted: [bool; 2],
}

/// The gradients of `heads` of one key/value head: of the queries, by position, and of keys and values, by key.
pub(super) fn backward_task(
    pass: &Backward,
    scratch: &mut Scratch,
    sequence: usize,
    heads: Range<usize>,
    [query_grads, key_grads, value_grads]: [&mut [&mut [f32]]; 3],
) {
    let operands = &pass.operands;
    let Extent { width, keys: length, head_dim, .. } = operands.extent;
    let (kv_head, [query_stride, key_stride]) = (heads.start / operands.extent.group(), operands.strides());
    let first = operands.key(sequence, 0, kv_head);
    transposed(&mut scratch.transposed_keys, &operands.keys[first..], key_stride, length, head_dim);
    transposed(&mut scratch.transposed_values, &operands.values[first..], key_stride, length, head_dim);
    gathered(&mut scratch.mixable, &operands.keys[first..], key_stride, length, head_dim);
    for sums in [&mut scratch.key_grads, &mut scratch.value_grads] {
        sums.clear();
        sums.resize(if pass.wanted[1] { length * head_dim } else { 0 }, 0.0);
    }
    let step = operands.step(length);
    for start in (0..width).step_by(step) {
        let strip = start..width.min(start + step);
        let span = operands.span(&strip, 0);
        let area = strip.len() * span.stride;
        scratch.scores.resize(scratch.scores.len().max(area), 0.0);
        scratch.score_grads.resize(scratch.score_grads.len().max(area), 0.0);
        scratch.mixed.resize(step * head_dim, 0.0);
        let (scores, score_grad) = (&mut scratch.scores[..area], &mut scratch.score_grads[..area]);
        for head in heads.clone() {
            let query = operands.query(sequence, start, head);
            let (queries, grad, result) = (&operands.queries[query..], &pass.grad[query..], &pass.result[query..]);
            let by_rows = |values| Left { values, row: query_stride, step: 1 };
            let panels = |values| Right { values, row: PANEL, panel: PANEL * head_dim };
            let sizes = Sizes { rows: strip.len(), columns: span.stride, depth: head_dim };
            let beyond = span.first * head_dim;
            let out = |values| Out { values, stride: span.stride, add: false };
            multiply(out(&mut *scores), by_rows(queries), panels(&scratch.transposed_keys[beyond..]), sizes);
            multiply(out(&mut *score_grad), by_rows(grad), panels(&scratch.transposed_values[beyond..]), sizes);
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
                let right = |values| Right { values, row: PANEL, panel: PANEL * strip.len() };
                gathered(&mut scratch.queries, queries, query_stride, strip.len(), head_dim);
                gathered(&mut scratch.grads, grad, query_stride, strip.len(), head_dim);
                let by_columns = |values| Left { values, row: 1, step: span.stride };
                let out = |values| Out { values, stride: head_dim, add: true };
                multiply(
                    out(&mut scratch.key_grads[beyond..]),
                    by_columns(&*score_grad),
                    right(&scratch.queries),
                    sizes,
                );
                multiply(out(&mut scratch.value_grads[beyond..]), by_columns(&*scores), right(&scratch.grads), sizes);
            }
            if pass.wanted[0] {
                multiply(
                    Out { values: &mut scratch.mixed, stride: head_dim, add: false },
                    Left { values: &*score_grad, row: span.stride, step: 1 },
                    Right { values: &scratch.mixable[span.first * PANEL..], row: PANEL, panel: PANEL * length },
                    Sizes { rows: strip.len(), columns: head_dim, depth: span.len },
                );
                for (row, mixed) in scratch.mixed.chunks_exact(head_dim).take(strip.len()).enumerate() {
                    query_grads[start + row][(head - heads.start) * head_dim..][..head_dim].copy_from_slice(mixed);
                }
            }
        }
    }
    for (rows, sums) in [(key_grads, &scratch.key_grads), (value_grads, &scratch.value_grads)] {
        for (row, sums) in rows.iter_mut().zip(sums.chunks_exact(head_dim)) {
            row.copy_from_slice(sums);
        }
    }
}
