//! The forward pass of some query positions of one key/value head.

use std::ops::Range;

use super::operands::{MOST, Operands, Scratch, capped};
use crate::kernel::{
    attention::{AttentionRule, Extent},
    product::{Left, Out, PANEL, Right, Sizes, gathered, multiply, transposed},
    vector::{dot, exp, largest, map_sum, wide},
};

/// Fewer query rows than this are multiplied with the keys as they are: transposing them would cost more.
const FEW: usize = 4;

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
        *score = if *kept == 0 { f32::NEG_INFINITY } else { *score };
    }
    let top = largest(scores);
    let sum = map_sum(scores, |score| exp((score - top) * scale));
    [sum, top * scale + sum.ln()]
}

/// The mixes of one task and the logarithms of its queries' sums: `positions` of one key/value head.
pub(super) fn forward_task(
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
        transposed(&mut scratch.transposed_keys, first, key_stride, keys.len(), head_dim);
    }
    let first = &operands.values[operands.key(sequence, keys.start, kv_head)..];
    gathered(&mut scratch.mixable, first, key_stride, keys.len(), head_dim);
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
                let panels = &scratch.transposed_keys[(span.first - keys.start) * head_dim..];
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
                    values: &scratch.mixable[(span.first - keys.start) * PANEL..],
                    row: PANEL,
                    panel: PANEL * keys.len(),
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
