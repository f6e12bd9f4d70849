//! Attention in plain Rust: strips of scores, a few query positions by all keys that they see, one after the other.

mod backward;
mod forward;
mod operands;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use backward::{Backward, backward_task};
use forward::forward_task;
use operands::{Operands, Scratch};

use super::{AttentionPasses, AttentionRule, AttentionState, Extent};
use crate::kernel::flex;

/// Query positions of one task of the forward pass.
const TASK: usize = 64;
/// With as many tasks the heads that share keys stay together.
const TASKS: usize = 16;

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
