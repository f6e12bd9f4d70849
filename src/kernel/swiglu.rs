//! The gate of a SwiGLU feed-forward layer as one differentiable operation (Shazeer 2020).

use burn::backend::{
    Autodiff, Backend, Dispatch,
    autodiff::{
        NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    tensor::FloatTensor,
};
use burn::tensor::{Tensor, activation::silu};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;
use rayon::prelude::*;

use super::{flex, launch};

pub(super) const FORWARD: &str = include_str!("../../shaders/swiglu.wgsl");
pub(super) const BACKWARD: &str = include_str!("../../shaders/swiglu_backward.wgsl");

/// Numbers that one task of the CPU takes.
const CHUNK: usize = 16 * 1024;

/// Backend dispatch of [`swiglu`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait SwigluOps: Backend {
    /// See [`swiglu`].
    fn swiglu_op(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The backward pass of [`SwigluOps`], on backends that compute.
pub trait SwigluBackwardOps: Backend {
    /// Gradients of `gate` and `up`, given that of the output; all of one shape.
    fn swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// `gate * sigmoid(gate) * up`, element by element; all `[N, F]`.
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::swiglu_op(gate.into_dispatch(), up.into_dispatch()))
}

/// The composed twin of [`swiglu`].
pub fn composed(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    silu(gate) * up
}

impl SwigluOps for CubeBackend {
    fn swiglu_op(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (gate, up) = (launch::contiguous(gate), launch::contiguous(up));
        let shape = gate.meta.shape().clone();
        let count = shape.num_elements();
        let y = launch::empty(&gate, shape);
        let buffers = [&gate.handle, &up.handle, &y.handle];
        launch::launch(&gate, FORWARD, 64, launch::groups_for(count, 64), &buffers, &launch::words(&[count]));
        y
    }
}

impl SwigluBackwardOps for CubeBackend {
    fn swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (gate, up, dy) = (launch::contiguous(gate), launch::contiguous(up), launch::contiguous(dy));
        let shape = gate.meta.shape().clone();
        let count = shape.num_elements();
        let (dgate, dup) = (launch::empty(&gate, shape.clone()), launch::empty(&gate, shape));
        let buffers = [&gate.handle, &up.handle, &dy.handle, &dgate.handle, &dup.handle];
        launch::launch(&gate, BACKWARD, 64, launch::groups_for(count, 64), &buffers, &launch::words(&[count]));
        (dgate, dup)
    }
}

fn sigmoid(x: f32) -> f32 {
    (1.0 + (-x).exp()).recip()
}

impl SwigluOps for Flex {
    fn swiglu_op(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (mut gate, up) = (flex::contiguous(gate), flex::contiguous(up));
        gate.storage_mut::<f32>().par_chunks_mut(CHUNK).zip(flex::floats(&up).par_chunks(CHUNK)).for_each(
            |(gate, up)| {
                gate.iter_mut().zip(up).for_each(|(gate, up)| *gate *= sigmoid(*gate) * up);
            },
        );
        gate
    }
}

impl SwigluBackwardOps for Flex {
    fn swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (gate, mut up, mut dy) = (flex::contiguous(gate), flex::contiguous(up), flex::contiguous(dy));
        let gates = flex::floats(&gate).par_chunks(CHUNK);
        // `dy` becomes the gradient of `up`, `up` that of `gate`.
        up.storage_mut::<f32>()
            .par_chunks_mut(CHUNK)
            .zip(dy.storage_mut::<f32>().par_chunks_mut(CHUNK))
            .zip(gates)
            .for_each(|((ups, dys), gates)| {
                for ((up, dy), gate) in ups.iter_mut().zip(dys).zip(gates) {
                    let s = sigmoid(*gate);
                    let silu = gate * s;
                    *up *= *dy * (s + silu * (1.0 - s));
                    *dy *= silu;
                }
            });
        (up, dy)
    }
}

impl<B, C> SwigluOps for Autodiff<B, C>
where
    B: SwigluOps + SwigluBackwardOps,
    C: CheckpointStrategy,
{
    fn swiglu_op(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        match Swiglu.prepare::<C>([gate.node(), up.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = SwigluState { gate: prep.checkpoint(&gate), up: prep.checkpoint(&up) };
                prep.finish(state, B::swiglu_op(gate.into_primitive(), up.into_primitive()))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::swiglu_op(gate.into_primitive(), up.into_primitive())),
        }
    }
}

#[derive(Debug)]
struct Swiglu;

#[derive(Clone, Debug)]
struct SwigluState {
    gate: NodeId,
    up: NodeId,
}

impl<B: SwigluBackwardOps> Backward<B, 2> for Swiglu {
    type State = SwigluState;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [gate_node, up_node] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let gate = checkpointer.retrieve_node_output(ops.state.gate);
        let up = checkpointer.retrieve_node_output(ops.state.up);
        let (dgate, dup) = B::swiglu_backward(gate, up, dy);
        if let Some(node) = gate_node {
            grads.register::<B>(node.id, dgate);
        }
        if let Some(node) = up_node {
            grads.register::<B>(node.id, dup);
        }
    }
}
