//! Softmax of attention scores under a mask, as one differentiable operation.
//!
//! Scale, mask and softmax in one pass, forward and backward: hidden scores are never read, no mask of the scores' size
//! exists, and only the probabilities are kept for the backward pass.

use std::ops::Range;

use burn::backend::{
    Autodiff, Backend, Dispatch,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{Int, Shape, Tensor, TensorData, activation::softmax};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;
use rayon::prelude::*;

use super::{
    flex, launch,
    vector::{dot, exp, largest, map_sum, wide},
};

pub(super) const FORWARD: &str =
    concat!(include_str!("../../shaders/shared/reduce.wgsl"), include_str!("../../shaders/attention_softmax.wgsl"));
pub(super) const BACKWARD: &str = concat!(
    include_str!("../../shaders/shared/reduce.wgsl"),
    include_str!("../../shaders/attention_softmax_backward.wgsl")
);

/// Rows that one task of the CPU takes at least.
const CPU_ROWS: usize = 16;

/// Which keys a query may see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionMask {
    /// Factor on the scores, `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// New positions of a sequence: row `r` of the scores is the query at position `start + r % width`.
    pub width: usize,
    /// Positions before them (a key/value cache).
    pub start: usize,
    /// Rows of the scores that belong to one sequence of the batch.
    pub rows_per_sequence: usize,
    /// How many keys a query sees at most, the last of them at its own position; only where `causal`.
    pub window: Option<usize>,
    /// Whether keys behind the query's own position are hidden.
    pub causal: bool,
}

impl AttentionMask {
    /// Which of the `keys` the query of row `row` may see, before padding is looked at.
    fn visible(&self, row: usize, keys: usize) -> Range<usize> {
        if !self.causal {
            return 0..keys;
        }
        let end = self.start + row % self.width + 1;
        end.saturating_sub(self.window.unwrap_or(end))..end
    }
}

/// Backend dispatch of [`attention_softmax`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait AttentionSoftmaxOps: Backend {
    /// See [`attention_softmax`].
    fn attention_softmax_op(
        scores: FloatTensor<Self>,
        padding: IntTensor<Self>,
        mask: AttentionMask,
    ) -> FloatTensor<Self>;
}

/// The backward pass of [`AttentionSoftmaxOps`], on backends that compute.
pub trait AttentionSoftmaxBackwardOps: Backend {
    /// Gradient `[R, S]` of the scores from the probabilities and their gradient, both `[R, S]`.
    fn attention_softmax_backward(
        probabilities: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        mask: AttentionMask,
    ) -> FloatTensor<Self>;
}

/// Attention probabilities `[R, S]` of scores `[R, S]`; hidden keys get exactly 0, and so do all keys of a query that may
/// see none. `padding` is `[B * S]` with 0 for keys that are padding, or of any other length where there is none.
pub fn attention_softmax(scores: Tensor<2>, padding: Tensor<1, Int>, mask: AttentionMask) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::attention_softmax_op(scores.into_dispatch(), padding.into_dispatch(), mask))
}

/// The composed twin of [`attention_softmax`].
pub fn composed(scores: Tensor<2>, padding: Option<&[i32]>, mask: AttentionMask) -> Tensor<2> {
    let [rows, keys] = scores.dims();
    let visible = (0..rows).flat_map(|row| {
        (0..keys).map(move |key| {
            let sequence = row / mask.rows_per_sequence;
            let padded = padding.is_some_and(|padding| padding[sequence * keys + key] == 0);
            f32::from(mask.visible(row, keys).contains(&key) && !padded)
        })
    });
    let visible = TensorData::new(visible.collect::<Vec<f32>>(), [rows, keys]);
    let visible = Tensor::<2>::from_data(visible, &scores.device());
    let bias = (visible.clone() - 1.0) * 1e30;
    softmax(scores.mul_scalar(mask.scale) + bias, 1) * visible
}

/// The shader's parameters.
fn parameters(rows: usize, keys: usize, padded: bool, mask: AttentionMask) -> Vec<u8> {
    let mut words = launch::words(&[rows, keys, mask.width, mask.start, mask.rows_per_sequence, usize::from(padded)]);
    words.extend(mask.scale.to_le_bytes());
    words.extend(launch::words(&[mask.window.unwrap_or(0), usize::from(mask.causal)]));
    words
}

impl AttentionSoftmaxOps for CubeBackend {
    fn attention_softmax_op(
        scores: FloatTensor<Self>,
        padding: IntTensor<Self>,
        mask: AttentionMask,
    ) -> FloatTensor<Self> {
        let (scores, padding) = (launch::contiguous(scores), launch::contiguous(padding));
        let [rows, keys] = scores.meta.shape().dims();
        let padded = padding.meta.shape().num_elements() == rows / mask.rows_per_sequence * keys;
        let out = launch::empty(&scores, Shape::new([rows, keys]));
        launch::launch(
            &scores,
            FORWARD,
            64,
            launch::groups_for(rows, 1),
            &[&scores.handle, &padding.handle, &out.handle],
            &parameters(rows, keys, padded, mask),
        );
        out
    }
}

impl AttentionSoftmaxBackwardOps for CubeBackend {
    fn attention_softmax_backward(
        probabilities: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        mask: AttentionMask,
    ) -> FloatTensor<Self> {
        let (probabilities, grad) = (launch::contiguous(probabilities), launch::contiguous(grad));
        let [rows, keys] = probabilities.meta.shape().dims();
        let out = launch::empty(&grad, Shape::new([rows, keys]));
        launch::launch(
            &grad,
            BACKWARD,
            64,
            launch::groups_for(rows, 1),
            &[&probabilities.handle, &grad.handle, &out.handle],
            &parameters(rows, keys, false, mask),
        );
        out
    }
}

/// Turns scores into probabilities; `padding` is as long as they are, or empty.
#[inline(always)]
fn softmax_row(scores: &mut [f32], padding: &[u32], scale: f32) {
    if !padding.is_empty() && padding.iter().fold(0, |any, kept| any | kept) == 0 {
        scores.fill(0.0);
        return;
    }
    for (score, kept) in scores.iter_mut().zip(padding) {
        *score = if *kept == 0 { -1e30 } else { *score };
    }
    let top = largest(scores);
    let inverse = map_sum(scores, |score| exp((score - top) * scale)).recip();
    scores.iter_mut().for_each(|score| *score *= inverse);
}

impl AttentionSoftmaxOps for Flex {
    fn attention_softmax_op(
        scores: FloatTensor<Self>,
        padding: IntTensor<Self>,
        mask: AttentionMask,
    ) -> FloatTensor<Self> {
        let (mut scores, padding) = (flex::contiguous(scores), flex::contiguous(padding));
        let [rows, keys] = scores.layout().shape().dims();
        let padding = flex::indices(&padding);
        let padded = padding.len() == rows / mask.rows_per_sequence * keys;
        scores.storage_mut::<f32>().par_chunks_mut(keys).enumerate().with_min_len(CPU_ROWS).for_each(
            |(row, scores)| {
                let visible = mask.visible(row, keys);
                scores[..visible.start].fill(0.0);
                scores[visible.end..].fill(0.0);
                let padding =
                    if padded { &padding[row / mask.rows_per_sequence * keys..][visible.clone()] } else { &[] };
                wide!(softmax_row(&mut scores[visible], padding, mask.scale));
            },
        );
        scores
    }
}

impl AttentionSoftmaxBackwardOps for Flex {
    fn attention_softmax_backward(
        probabilities: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        mask: AttentionMask,
    ) -> FloatTensor<Self> {
        let (probabilities, mut grad) = (flex::contiguous(probabilities), flex::contiguous(grad));
        let [_, keys] = probabilities.layout().shape().dims();
        let rows = flex::floats(&probabilities).par_chunks(keys);
        grad.storage_mut::<f32>().par_chunks_mut(keys).zip(rows).enumerate().with_min_len(CPU_ROWS).for_each(
            |(row, (grad, probabilities))| {
                let visible = mask.visible(row, keys);
                grad[..visible.start].fill(0.0);
                grad[visible.end..].fill(0.0);
                let (seen, probabilities) = (&mut grad[visible.clone()], &probabilities[visible]);
                wide!({
                    let total = dot(seen, probabilities);
                    seen.iter_mut().zip(probabilities).for_each(|(grad, p)| *grad = mask.scale * p * (*grad - total));
                });
            },
        );
        grad
    }
}

impl<B, C> AttentionSoftmaxOps for Autodiff<B, C>
where
    B: AttentionSoftmaxOps + AttentionSoftmaxBackwardOps,
    C: CheckpointStrategy,
{
    fn attention_softmax_op(
        scores: FloatTensor<Self>,
        padding: IntTensor<Self>,
        mask: AttentionMask,
    ) -> FloatTensor<Self> {
        match AttentionSoftmax.prepare::<C>([scores.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let probabilities = B::attention_softmax_op(scores.into_primitive(), padding, mask);
                prep.finish(AttentionSoftmaxState::<B> { probabilities: probabilities.clone(), mask }, probabilities)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::attention_softmax_op(scores.into_primitive(), padding, mask)),
        }
    }
}

#[derive(Debug)]
struct AttentionSoftmax;

#[derive(Clone, Debug)]
struct AttentionSoftmaxState<B: Backend> {
    probabilities: FloatTensor<B>,
    mask: AttentionMask,
}

impl<B: AttentionSoftmaxBackwardOps> Backward<B, 1> for AttentionSoftmax {
    type State = AttentionSoftmaxState<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [parent] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(node) = parent {
            let state = ops.state;
            grads.register::<B>(node.id, B::attention_softmax_backward(state.probabilities, grad, state.mask));
        }
    }
}
