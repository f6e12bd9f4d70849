//! The gate of a gated feed-forward layer as one differentiable operation (Shazeer 2020).

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
use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;
use burn_flex::Flex;
use rayon::prelude::*;

use super::{
    activation::{Activation, CHUNK, Curve, for_curve},
    flex, launch,
    vector::wide,
};

const FORWARD: &str =
    concat!(include_str!("../../shaders/shared/activation.wgsl"), include_str!("../../shaders/gated.wgsl"));
const BACKWARD: &str =
    concat!(include_str!("../../shaders/shared/activation.wgsl"), include_str!("../../shaders/gated_backward.wgsl"));

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named = &[("gated", FORWARD), ("gated_backward", BACKWARD)];

/// Backend dispatch of [`gated`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait GatedOps: Backend {
    /// See [`gated`].
    fn gated_op(gate: FloatTensor<Self>, up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
}

/// The backward pass of [`GatedOps`], on backends that compute.
pub trait GatedBackwardOps: Backend {
    /// Gradients of `gate` and `up`, given that of the output; all of one shape.
    fn gated_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// `f(gate) * up`, element by element; all `[N, F]`.
pub fn gated(gate: Tensor<2>, up: Tensor<2>, activation: Activation) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::gated_op(gate.into_dispatch(), up.into_dispatch(), activation))
}

/// The composed twin of [`gated`].
pub fn composed(gate: Tensor<2>, up: Tensor<2>, activation: Activation) -> Tensor<2> {
    activation.composed(gate) * up
}

impl GatedOps for CubeBackend {
    fn gated_op(gate: FloatTensor<Self>, up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let (gate, up) = (launch::contiguous(gate), launch::contiguous(up));
        let shape = gate.meta.shape().clone();
        let count = shape.num_elements();
        let y = launch::empty(&gate, shape);
        let dims = launch::words(&[count, activation.kind()]);
        let buffers = [&gate.handle, &up.handle, &y.handle];
        launch::launch(&gate, FORWARD, 64, launch::groups_for(count, 64), &buffers, &dims);
        y
    }
}

impl GatedBackwardOps for CubeBackend {
    fn gated_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (gate, up, dy) = (launch::contiguous(gate), launch::contiguous(up), launch::contiguous(dy));
        let shape = gate.meta.shape().clone();
        let count = shape.num_elements();
        let (dgate, dup) = (launch::empty(&gate, shape.clone()), launch::empty(&gate, shape));
        let dims = launch::words(&[count, activation.kind()]);
        let buffers = [&gate.handle, &up.handle, &dy.handle, &dgate.handle, &dup.handle];
        launch::launch(&gate, BACKWARD, 64, launch::groups_for(count, 64), &buffers, &dims);
        (dgate, dup)
    }
}

/// Overwrites `gate` with `f(gate) * up`.
fn forward<C: Curve>(gate: &mut [f32], up: &[f32]) {
    wide!(gate.iter_mut().zip(up).for_each(|(gate, up)| *gate = C::at(*gate).0 * up));
}

/// Overwrites `up` with the gradient of `gate` and `dy` with that of `up`.
fn backward<C: Curve>(gate: &[f32], up: &mut [f32], dy: &mut [f32]) {
    wide!({
        for ((up, dy), gate) in up.iter_mut().zip(dy).zip(gate) {
            let (value, slope) = C::at(*gate);
            *up *= *dy * slope;
            *dy *= value;
        }
    });
}

impl GatedOps for Flex {
    fn gated_op(gate: FloatTensor<Self>, up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let (gate, up) = (flex::contiguous(gate), flex::contiguous(up));
        let forward = for_curve!(activation, forward);
        let ups = flex::floats(&up);
        flex::changed(gate, CHUNK, |at, gate| forward(gate, &ups[at * CHUNK..][..gate.len()]))
    }
}

impl GatedBackwardOps for Flex {
    fn gated_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (gate, mut up, mut dy) = (flex::contiguous(gate), flex::contiguous(up), flex::contiguous(dy));
        let backward = for_curve!(activation, backward);
        up.storage_mut::<f32>()
            .par_chunks_mut(CHUNK)
            .zip(dy.storage_mut::<f32>().par_chunks_mut(CHUNK))
            .zip(flex::floats(&gate).par_chunks(CHUNK))
            .for_each(|((up, dy), gate)| backward(gate, up, dy));
        (up, dy)
    }
}

impl<B, C> GatedOps for Autodiff<B, C>
where
    B: GatedOps + GatedBackwardOps,
    C: CheckpointStrategy,
{
    fn gated_op(gate: FloatTensor<Self>, up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        match Gated.prepare::<C>([gate.node(), up.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = GatedState { gate: prep.checkpoint(&gate), up: prep.checkpoint(&up), activation };
                prep.finish(state, B::gated_op(gate.into_primitive(), up.into_primitive(), activation))
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::gated_op(gate.into_primitive(), up.into_primitive(), activation))
            }
        }
    }
}

#[derive(Debug)]
struct Gated;

#[derive(Clone, Debug)]
struct GatedState {
    gate: NodeId,
    up: NodeId,
    activation: Activation,
}

impl<B: GatedBackwardOps> Backward<B, 2> for Gated {
    type State = GatedState;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [gate_node, up_node] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let gate = checkpointer.retrieve_node_output(ops.state.gate);
        let up = checkpointer.retrieve_node_output(ops.state.up);
        let (dgate, dup) = B::gated_backward(gate, up, dy, ops.state.activation);
        if let Some(node) = gate_node {
            grads.register::<B>(node.id, dgate);
        }
        if let Some(node) = up_node {
            grads.register::<B>(node.id, dup);
        }
    }
}
