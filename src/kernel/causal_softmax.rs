//! Softmax of attention scores under the causal mask, as one differentiable operation.
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
use burn::tensor::{Int, Shape, Tensor, activation::softmax};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;
use rayon::prelude::*;

use super::{flex, launch};

pub(super) const FORWARD: &str =
    concat!(include_str!("../../shaders/shared/reduce.wgsl"), include_str!("../../shaders/causal_softmax.wgsl"));
pub(super) const BACKWARD: &str = concat!(
    include_str!("../../shaders/shared/reduce.wgsl"),
    include_str!("../../shaders/causal_softmax_backward.wgsl")
);

/// Which keys a query may see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Causal {
    /// Factor on the scores, `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// New positions of a sequence: row `r` of the scores is the query at position `start + r % width`.
    pub width: usize,
    /// Positions before them (a key/value cache).
    pub start: usize,
    /// Rows of the scores that belong to one sequence of the batch.
    pub rows_per_sequence: usize,
    /// How many keys a query sees at most, the last of them at its own position.
    pub window: Option<usize>,
}

impl Causal {
    /// The keys that the query of row `row` may see, before padding is looked at.
    fn visible(&self, row: usize) -> Range<usize> {
        let end = self.start + row % self.width + 1;
        end.saturating_sub(self.window.unwrap_or(end))..end
    }
}

/// Backend dispatch of [`causal_softmax`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait CausalSoftmaxOps: Backend {
    /// See [`causal_softmax`].
    fn causal_softmax_op(scores: FloatTensor<Self>, padding: IntTensor<Self>, causal: Causal) -> FloatTensor<Self>;
}

/// The backward pass of [`CausalSoftmaxOps`], on backends that compute.
pub trait CausalSoftmaxBackwardOps: Backend {
    /// Gradient `[R, S]` of the scores from the probabilities and their gradient, both `[R, S]`.
    fn causal_softmax_backward(
        probabilities: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        causal: Causal,
    ) -> FloatTensor<Self>;
}

/// Attention probabilities `[R, S]` of scores `[R, S]`; hidden keys get exactly 0. `padding` is `[B * S]` with 0 for
/// keys that are padding, or of any other length where there is none.
pub fn causal_softmax(scores: Tensor<2>, padding: Tensor<1, Int>, causal: Causal) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::causal_softmax_op(scores.into_dispatch(), padding.into_dispatch(), causal))
}

/// The composed twin of [`causal_softmax`].
pub fn composed(scores: Tensor<2>, padding: Option<&[i32]>, causal: Causal) -> Tensor<2> {
    let [rows, keys] = scores.dims();
    let hidden = (0..rows).flat_map(|row| {
        (0..keys).map(move |key| {
            let sequence = row / causal.rows_per_sequence;
            let padded = padding.is_some_and(|padding| padding[sequence * keys + key] == 0);
            if !causal.visible(row).contains(&key) || padded { -1e30 } else { 0.0f32 }
        })
    });
    let bias = burn::tensor::TensorData::new(hidden.collect::<Vec<f32>>(), [rows, keys]);
    let bias = Tensor::from_data(bias, &scores.device());
    softmax(scores.mul_scalar(causal.scale) + bias, 1)
}

/// The shader's parameters.
fn parameters(rows: usize, keys: usize, padded: bool, causal: Causal) -> Vec<u8> {
    let mut words =
        launch::words(&[rows, keys, causal.width, causal.start, causal.rows_per_sequence, usize::from(padded)]);
    words.extend(causal.scale.to_le_bytes());
    words.extend(launch::words(&[causal.window.unwrap_or(0)]));
    words
}

impl CausalSoftmaxOps for CubeBackend {
    fn causal_softmax_op(scores: FloatTensor<Self>, padding: IntTensor<Self>, causal: Causal) -> FloatTensor<Self> {
        let (scores, padding) = (launch::contiguous(scores), launch::contiguous(padding));
        let [rows, keys] = scores.meta.shape().dims();
        let padded = padding.meta.shape().num_elements() == rows / causal.rows_per_sequence * keys;
        let out = launch::empty(&scores, Shape::new([rows, keys]));
        launch::launch(
            &scores,
            FORWARD,
            64,
            launch::groups_for(rows, 1),
            &[&scores.handle, &padding.handle, &out.handle],
            &parameters(rows, keys, padded, causal),
        );
        out
    }
}

impl CausalSoftmaxBackwardOps for CubeBackend {
    fn causal_softmax_backward(
        probabilities: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        causal: Causal,
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
            &parameters(rows, keys, false, causal),
        );
        out
    }
}

impl CausalSoftmaxOps for Flex {
    fn causal_softmax_op(scores: FloatTensor<Self>, padding: IntTensor<Self>, causal: Causal) -> FloatTensor<Self> {
        let (mut scores, padding) = (flex::contiguous(scores), flex::contiguous(padding));
        let [rows, keys] = scores.layout().shape().dims();
        let padding = flex::indices(&padding);
        let padded = padding.len() == rows / causal.rows_per_sequence * keys;
        scores.storage_mut::<f32>().par_chunks_mut(keys).enumerate().for_each(|(row, scores)| {
            let visible = causal.visible(row);
            scores[..visible.start].fill(0.0);
            scores[visible.end..].fill(0.0);
            let seen = &mut scores[visible.clone()];
            if padded {
                let padding = &padding[row / causal.rows_per_sequence * keys..][visible];
                seen.iter_mut().zip(padding).filter(|(_, kept)| **kept == 0).for_each(|(score, _)| *score = -1e30);
            }
            let largest = seen.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            seen.iter_mut().for_each(|score| *score = ((*score - largest) * causal.scale).exp());
            let inverse = seen.iter().sum::<f32>().recip();
            seen.iter_mut().for_each(|score| *score *= inverse);
        });
        scores
    }
}

impl CausalSoftmaxBackwardOps for Flex {
    fn causal_softmax_backward(
        probabilities: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        causal: Causal,
    ) -> FloatTensor<Self> {
        let (probabilities, mut grad) = (flex::contiguous(probabilities), flex::contiguous(grad));
        let [_, keys] = probabilities.layout().shape().dims();
        let rows = flex::floats(&probabilities).par_chunks(keys);
        grad.storage_mut::<f32>().par_chunks_mut(keys).zip(rows).enumerate().for_each(
            |(row, (grad, probabilities))| {
                let visible = causal.visible(row);
                grad[..visible.start].fill(0.0);
                grad[visible.end..].fill(0.0);
                let (seen, probabilities) = (&mut grad[visible.clone()], &probabilities[visible]);
                let dot: f32 = seen.iter().zip(probabilities).map(|(grad, p)| grad * p).sum();
                seen.iter_mut().zip(probabilities).for_each(|(grad, p)| *grad = causal.scale * p * (*grad - dot));
            },
        );
        grad
    }
}

impl<B, C> CausalSoftmaxOps for Autodiff<B, C>
where
    B: CausalSoftmaxOps + CausalSoftmaxBackwardOps,
    C: CheckpointStrategy,
{
    fn causal_softmax_op(scores: FloatTensor<Self>, padding: IntTensor<Self>, causal: Causal) -> FloatTensor<Self> {
        match CausalSoftmax.prepare::<C>([scores.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let probabilities = B::causal_softmax_op(scores.into_primitive(), padding, causal);
                prep.finish(CausalSoftmaxState::<B> { probabilities: probabilities.clone(), causal }, probabilities)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::causal_softmax_op(scores.into_primitive(), padding, causal)),
        }
    }
}

#[derive(Debug)]
struct CausalSoftmax;

#[derive(Clone, Debug)]
struct CausalSoftmaxState<B: Backend> {
    probabilities: FloatTensor<B>,
    causal: Causal,
}

impl<B: CausalSoftmaxBackwardOps> Backward<B, 1> for CausalSoftmax {
    type State = CausalSoftmaxState<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [parent] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(node) = parent {
            let state = ops.state;
            grads.register::<B>(node.id, B::causal_softmax_backward(state.probabilities, grad, state.causal));
        }
    }
}
