//! Rotary position embedding as one differentiable operation.
//!
//! Its backward pass is the rotation by the opposite angle, so nothing needs to be kept but the tables; left to
//! autodiff, the slices and concatenations would be undone one by one in full-size buffers.

use burn::backend::{
    Autodiff, Backend, Dispatch, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    tensor::FloatTensor,
};
use burn::tensor::{Shape, Slice, Tensor};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;

use super::{flex, launch};

const SOURCE: &str = include_str!("../../shaders/rope.wgsl");

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named = &[("rope", SOURCE)];

/// Backend dispatch of [`rope`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait RopeOps: Backend {
    /// See [`rope`]; `direction` is 1 forward and -1 backward.
    fn rope_op(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        head_dim: usize,
        direction: f32,
    ) -> FloatTensor<Self>;
}

/// Rotates pairs `(i, i + half)` of the first `2 * half` entries of each head of `x` `[rows * T, heads * head_dim]` by the
/// angle of its position, and leaves the others as they are; row `r` has position `r % T`. `cos` and `sin` are `[T, half]`
/// (Su et al. 2021, in the layout of Hugging Face's `rotate_half`).
pub fn rope(x: Tensor<2>, cos: Tensor<2>, sin: Tensor<2>, head_dim: usize) -> Tensor<2> {
    let (x, cos, sin) = (x.into_dispatch(), cos.into_dispatch(), sin.into_dispatch());
    Tensor::from_dispatch(Dispatch::rope_op(x, cos, sin, head_dim, 1.0))
}

/// The composed twin of [`rope`].
pub fn composed(x: Tensor<2>, cos: Tensor<2>, sin: Tensor<2>, head_dim: usize) -> Tensor<2> {
    let [tokens, width] = x.dims();
    let [positions, half] = cos.dims();
    let shape = [tokens / positions, positions, width / head_dim, head_dim];
    let x = x.reshape(shape);
    let table = |table: Tensor<2>| table.reshape([1, positions, 1, half]);
    let low = x.clone().slice_dim(3, Slice::from(0..half));
    let high = x.clone().slice_dim(3, Slice::from(half..2 * half));
    let rotated_low = low.clone() * table(cos.clone()) - high.clone() * table(sin.clone());
    let rotated_high = high * table(cos) + low * table(sin);
    let mut parts = vec![rotated_low, rotated_high];
    if 2 * half < head_dim {
        parts.push(x.slice_dim(3, Slice::from(2 * half..head_dim)));
    }
    Tensor::cat(parts, 3).reshape([tokens, width])
}

impl RopeOps for CubeBackend {
    fn rope_op(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        head_dim: usize,
        direction: f32,
    ) -> FloatTensor<Self> {
        let (x, cos, sin) = (launch::contiguous(x), launch::contiguous(cos), launch::contiguous(sin));
        let [tokens, width] = x.meta.shape().dims();
        let [positions, half] = cos.meta.shape().dims();
        let y = launch::empty(&x, Shape::new([tokens, width]));
        let backward = usize::from(direction < 0.0);
        launch::launch(
            &x,
            SOURCE,
            64,
            launch::groups_for(tokens * width / 2, 64),
            &[&x.handle, &cos.handle, &sin.handle, &y.handle],
            &launch::words(&[tokens * width / 2, width, half, positions, backward, head_dim]),
        );
        y
    }
}

impl RopeOps for Flex {
    fn rope_op(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        head_dim: usize,
        direction: f32,
    ) -> FloatTensor<Self> {
        let (x, cos, sin) = (flex::contiguous(x), flex::contiguous(cos), flex::contiguous(sin));
        let [_, width] = x.layout().shape().dims();
        let [positions, half] = cos.layout().shape().dims();
        let (cos, sin) = (flex::floats(&cos), flex::floats(&sin));
        let each = flex::rows_of(width);
        flex::changed(x, each * width, |chunk, rows| {
            for (row, values) in rows.chunks_exact_mut(width).enumerate() {
                let at = (chunk * each + row) % positions * half;
                let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
                for head in values.chunks_exact_mut(head_dim) {
                    let (low, high) = head.split_at_mut(half);
                    for i in 0..half {
                        let (a, b, s) = (low[i], high[i], direction * sin[i]);
                        low[i] = a * cos[i] - b * s;
                        high[i] = b * cos[i] + a * s;
                    }
                }
            }
        })
    }
}

impl<B: RopeOps, C: CheckpointStrategy> RopeOps for Autodiff<B, C> {
    fn rope_op(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        head_dim: usize,
        direction: f32,
    ) -> FloatTensor<Self> {
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        match Rotation.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = RotationState::<B> { cos: cos.clone(), sin: sin.clone(), head_dim, direction };
                prep.finish(state, B::rope_op(x.into_primitive(), cos, sin, head_dim, direction))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::rope_op(x.into_primitive(), cos, sin, head_dim, direction)),
        }
    }
}

#[derive(Debug)]
struct Rotation;

#[derive(Clone, Debug)]
struct RotationState<B: Backend> {
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
    head_dim: usize,
    direction: f32,
}

impl<B: RopeOps> Backward<B, 1> for Rotation {
    type State = RotationState<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [parent] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        if let Some(node) = parent {
            let state = ops.state;
            debug_assert_eq!(dy.shape().num_dims(), 2);
            grads.register::<B>(node.id, B::rope_op(dy, state.cos, state.sin, state.head_dim, -state.direction));
        }
    }
}
