//! RMSNorm as one differentiable operation (Zhang and Sennrich 2019).
//!
//! Only the input and the scale are kept for the backward pass; the inverse root mean square is cheap to form again.

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
use burn::tensor::{Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;
use rayon::prelude::*;

use super::{
    flex, launch,
    vector::{dot, wide},
};

const FORWARD: &str =
    concat!(include_str!("../../shaders/shared/reduce.wgsl"), include_str!("../../shaders/rms_norm.wgsl"));
const BACKWARD: &str =
    concat!(include_str!("../../shaders/shared/reduce.wgsl"), include_str!("../../shaders/rms_norm_backward.wgsl"));

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named = &[("rms_norm", FORWARD), ("rms_norm_backward", BACKWARD)];

/// Backend dispatch of [`rms_norm`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait RmsNormOps: Backend {
    /// See [`rms_norm`].
    fn rms_norm_op(x: FloatTensor<Self>, scale: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self>;
}

/// The backward pass of [`RmsNormOps`], on backends that compute.
pub trait RmsNormBackwardOps: Backend {
    /// `dx` `[N, D]`, and `dy * x / rms` `[N, D]`, whose column sums are the gradient of the scale; the second only if
    /// `with_scale`.
    fn rms_norm_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        epsilon: f32,
        with_scale: bool,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>);
}

/// `x / sqrt(mean(x^2) + epsilon) * scale` over each row of `x` `[N, D]`, with `scale` `[1, D]`.
pub fn rms_norm(x: Tensor<2>, scale: Tensor<2>, epsilon: f32) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::rms_norm_op(x.into_dispatch(), scale.into_dispatch(), epsilon))
}

/// The composed twin of [`rms_norm`].
pub fn composed(x: Tensor<2>, scale: Tensor<2>, epsilon: f32) -> Tensor<2> {
    let mean_square = (x.clone() * x.clone()).mean_dim(1);
    x * mean_square.add_scalar(epsilon).sqrt().recip() * scale
}

impl RmsNormOps for CubeBackend {
    fn rms_norm_op(x: FloatTensor<Self>, scale: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        let (x, scale) = (launch::contiguous(x), launch::contiguous(scale));
        let [rows, width] = x.meta.shape().dims();
        let y = launch::empty(&x, Shape::new([rows, width]));
        let mut dims = launch::words(&[rows, width]);
        dims.extend(epsilon.to_le_bytes());
        let buffers = [&x.handle, &scale.handle, &y.handle];
        launch::launch(&x, FORWARD, 64, launch::groups_for(rows, 1), &buffers, &dims);
        y
    }
}

impl RmsNormBackwardOps for CubeBackend {
    fn rms_norm_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        epsilon: f32,
        with_scale: bool,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        let (x, scale, dy) = (launch::contiguous(x), launch::contiguous(scale), launch::contiguous(dy));
        let [rows, width] = x.meta.shape().dims();
        let dx = launch::empty(&x, Shape::new([rows, width]));
        // The shader's binding needs a buffer even where the scale is frozen.
        let products = launch::empty(&x, Shape::new(if with_scale { [rows, width] } else { [1, 1] }));
        let mut dims = launch::words(&[rows, width, usize::from(with_scale)]);
        dims.extend(epsilon.to_le_bytes());
        let buffers = [&x.handle, &scale.handle, &dy.handle, &dx.handle, &products.handle];
        launch::launch(&x, BACKWARD, 64, launch::groups_for(rows, 1), &buffers, &dims);
        (dx, with_scale.then_some(products))
    }
}

/// `1 / sqrt(mean(x^2) + epsilon)`.
#[inline(always)]
fn inverse_rms(row: &[f32], epsilon: f32) -> f32 {
    (dot(row, row) / row.len() as f32 + epsilon).sqrt().recip()
}

impl RmsNormOps for Flex {
    fn rms_norm_op(x: FloatTensor<Self>, scale: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        let (x, scale) = (flex::contiguous(x), flex::contiguous(scale));
        let scale = flex::floats(&scale);
        flex::changed(x, flex::rows_of(scale.len()) * scale.len(), |_, rows| {
            wide!({
                for row in rows.chunks_exact_mut(scale.len()) {
                    let inverse = inverse_rms(row, epsilon);
                    row.iter_mut().zip(scale).for_each(|(x, scale)| *x *= inverse * scale);
                }
            });
        })
    }
}

impl RmsNormBackwardOps for Flex {
    fn rms_norm_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        epsilon: f32,
        with_scale: bool,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        let (x, scale, dy) = (flex::contiguous(x), flex::contiguous(scale), flex::contiguous(dy));
        let scale = flex::floats(&scale);
        let width = scale.len();
        let dims = x.layout().shape().dims::<2>();
        let x = flex::floats(&x);
        let products = with_scale.then(|| {
            let mut products = flex::floats(&dy).to_vec();
            products.par_chunks_mut(width).zip(x.par_chunks(width)).for_each(|(products, x)| {
                wide!({
                    let inverse = inverse_rms(x, epsilon);
                    products.iter_mut().zip(x).for_each(|(product, x)| *product *= x * inverse);
                });
            });
            flex::tensor(products, dims)
        });
        let chunk = flex::rows_of(width) * width;
        let dy = flex::changed(dy, chunk, |at, rows| {
            let x = &x[at * chunk..][..rows.len()];
            wide!({
                for (dy, x) in rows.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    dy.iter_mut().zip(scale).for_each(|(dy, scale)| *dy *= scale);
                    let inverse = inverse_rms(x, epsilon);
                    let shift = dot(dy, x) * inverse * inverse / width as f32;
                    dy.iter_mut().zip(x).for_each(|(dy, x)| *dy = inverse * (*dy - x * shift));
                }
            });
        });
        (dy, products)
    }
}

impl<B, C> RmsNormOps for Autodiff<B, C>
where
    B: RmsNormOps + RmsNormBackwardOps,
    C: CheckpointStrategy,
{
    fn rms_norm_op(x: FloatTensor<Self>, scale: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        match RmsNorm.prepare::<C>([x.node(), scale.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = RmsNormState::<B> { x: prep.checkpoint(&x), scale: scale.primitive().clone(), epsilon };
                prep.finish(state, B::rms_norm_op(x.into_primitive(), scale.into_primitive(), epsilon))
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::rms_norm_op(x.into_primitive(), scale.into_primitive(), epsilon))
            }
        }
    }
}

#[derive(Debug)]
struct RmsNorm;

#[derive(Clone, Debug)]
struct RmsNormState<B: Backend> {
    x: NodeId,
    scale: FloatTensor<B>,
    epsilon: f32,
}

impl<B: RmsNormBackwardOps> Backward<B, 2> for RmsNorm {
    type State = RmsNormState<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [x_node, scale_node] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let state = ops.state;
        let x = checkpointer.retrieve_node_output(state.x);
        let (dx, products) = B::rms_norm_backward(x, state.scale, dy, state.epsilon, scale_node.is_some());
        if let Some(node) = x_node {
            grads.register::<B>(node.id, dx);
        }
        if let (Some(node), Some(products)) = (scale_node, products) {
            grads.register::<B>(node.id, B::float_sum_dim(products, 0));
        }
    }
}
