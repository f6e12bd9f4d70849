//! Cross-entropy over a vocabulary as one differentiable operation.
//!
//! The forward pass keeps only the logits; the backward pass forms softmax minus one-hot once. Composed of plain
//! autodiff operations the same loss would keep several `[N, V]` tensors alive.

use burn::backend::{
    Autodiff, Backend, Dispatch, TensorMetadata,
    autodiff::{
        NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{Int, Shape, Tensor, activation::log_softmax};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;
use rayon::prelude::*;

use super::{
    flex, launch,
    vector::{exp, largest, sum_of, wide},
};

const FORWARD: &str = concat!(
    include_str!("../../shaders/shared/nan.wgsl"),
    include_str!("../../shaders/shared/reduce.wgsl"),
    include_str!("../../shaders/shared/softmax_row.wgsl"),
    include_str!("../../shaders/cross_entropy.wgsl")
);
const BACKWARD: &str = concat!(
    include_str!("../../shaders/shared/nan.wgsl"),
    include_str!("../../shaders/shared/reduce.wgsl"),
    include_str!("../../shaders/shared/softmax_row.wgsl"),
    include_str!("../../shaders/cross_entropy_backward.wgsl")
);

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named = &[("cross_entropy", FORWARD), ("cross_entropy_backward", BACKWARD)];

/// Backend dispatch of [`cross_entropy`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait CrossEntropyOps: Backend {
    /// See [`cross_entropy`].
    fn cross_entropy_op(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self>;
}

/// The backward pass of [`CrossEntropyOps`], on backends that compute.
pub trait CrossEntropyBackwardOps: Backend {
    /// Gradient `[N, V]` with respect to the logits, given the gradient `[N]` of the losses.
    fn cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// `-log softmax(logits[n])[targets[n]]` `[N]` for `logits` `[N, V]` and `targets` `[N]`; 0 for a negative target.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::cross_entropy_op(logits.into_dispatch(), targets.into_dispatch()))
}

/// The composed twin of [`cross_entropy`].
pub fn composed(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [count, _] = logits.dims();
    let ignored = targets.clone().lower_elem(0);
    let losses = log_softmax(logits, 1).gather(1, targets.clamp_min(0).reshape([count, 1])).neg();
    losses.reshape([count]).mask_fill(ignored, 0.0)
}

impl CrossEntropyOps for CubeBackend {
    fn cross_entropy_op(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        let (logits, targets) = (launch::contiguous(logits), launch::contiguous(targets));
        let [count, vocabulary] = logits.meta.shape().dims();
        let losses = launch::empty(&logits, Shape::new([count]));
        launch::launch(
            &logits,
            FORWARD,
            64,
            launch::groups_for(count, 1),
            &[&logits.handle, &targets.handle, &losses.handle],
            &launch::words(&[count, vocabulary]),
        );
        losses
    }
}

impl CrossEntropyBackwardOps for CubeBackend {
    fn cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (logits, targets, grad) =
            (launch::contiguous(logits), launch::contiguous(targets), launch::contiguous(grad));
        let [count, vocabulary] = logits.meta.shape().dims();
        let dlogits = launch::empty(&logits, Shape::new([count, vocabulary]));
        launch::launch(
            &logits,
            BACKWARD,
            64,
            launch::groups_for(count, 1),
            &[&logits.handle, &targets.handle, &grad.handle, &dlogits.handle],
            &launch::words(&[count, vocabulary]),
        );
        dlogits
    }
}

/// Largest logit and the sum of `exp(logit - largest)`.
#[inline(always)]
fn softmax_parts(row: &[f32]) -> (f32, f32) {
    let top = largest(row);
    (top, sum_of(row, row, |logit, _| exp(logit - top)))
}

impl CrossEntropyOps for Flex {
    fn cross_entropy_op(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        let (logits, targets) = (flex::contiguous(logits), flex::contiguous(targets));
        let [count, vocabulary] = logits.layout().shape().dims();
        let losses = flex::floats(&logits)
            .par_chunks(vocabulary)
            .zip(flex::indices(&targets).par_iter())
            .map(|(row, &target)| match row.get(target as usize) {
                None => 0.0,
                Some(logit) => {
                    let (top, sum) = wide!(softmax_parts(row));
                    top + sum.ln() - logit
                }
            })
            .collect();
        flex::tensor(losses, [count])
    }
}

impl CrossEntropyBackwardOps for Flex {
    fn cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (mut logits, targets, grad) = (flex::contiguous(logits), flex::contiguous(targets), flex::contiguous(grad));
        let [_, vocabulary] = logits.layout().shape().dims();
        logits
            .storage_mut::<f32>()
            .par_chunks_mut(vocabulary)
            .zip(flex::indices(&targets).par_iter())
            .zip(flex::floats(&grad).par_iter())
            .for_each(|((row, &target), &grad)| {
                if target as usize >= vocabulary {
                    row.fill(0.0);
                    return;
                }
                wide!({
                    let (top, sum) = softmax_parts(row);
                    let scale = grad / sum;
                    row.iter_mut().for_each(|logit| *logit = exp(*logit - top) * scale);
                });
                row[target as usize] -= grad;
            });
        logits
    }
}

impl<B, C> CrossEntropyOps for Autodiff<B, C>
where
    B: CrossEntropyOps + CrossEntropyBackwardOps,
    C: CheckpointStrategy,
{
    fn cross_entropy_op(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        match CrossEntropy.prepare::<C>([logits.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = CrossEntropyState::<B> { logits: prep.checkpoint(&logits), targets: targets.clone() };
                prep.finish(state, B::cross_entropy_op(logits.into_primitive(), targets))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::cross_entropy_op(logits.into_primitive(), targets)),
        }
    }
}

#[derive(Debug)]
struct CrossEntropy;

#[derive(Clone, Debug)]
struct CrossEntropyState<B: Backend> {
    logits: NodeId,
    targets: IntTensor<B>,
}

impl<B: CrossEntropyBackwardOps> Backward<B, 1> for CrossEntropy {
    type State = CrossEntropyState<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [parent] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        debug_assert_eq!(grad.shape().num_dims(), 1);
        let logits = checkpointer.retrieve_node_output(ops.state.logits);
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::cross_entropy_backward(logits, ops.state.targets, grad));
        }
    }
}
