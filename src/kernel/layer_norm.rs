//! LayerNorm as one differentiable operation (Ba, Kiros and Hinton 2016).
//!
//! Only the input and the scale are kept for the backward pass; mean and deviation are cheap to form again.

use burn::backend::{
    Autodiff, Backend, Dispatch,
    autodiff::{
        NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    ops::FloatTensorOps,
    tensor::FloatTensor,
};
use burn::tensor::{Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;
use rayon::prelude::*;

use super::{
    flex, launch,
    vector::{sum_of, wide},
};

const FORWARD: &str =
    concat!(include_str!("../../shaders/shared/reduce.wgsl"), include_str!("../../shaders/layer_norm.wgsl"));
const BACKWARD: &str =
    concat!(include_str!("../../shaders/shared/reduce.wgsl"), include_str!("../../shaders/layer_norm_backward.wgsl"));

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named = &[("layer_norm", FORWARD), ("layer_norm_backward", BACKWARD)];

/// Backend dispatch of [`layer_norm`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait LayerNormOps: Backend {
    /// See [`layer_norm`].
    fn layer_norm_op(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;
}

/// The backward pass of [`LayerNormOps`], on backends that compute.
pub trait LayerNormBackwardOps: Backend {
    /// Gradients of x `[N, D]`, scale `[1, D]` and bias `[1, D]`, those that are `wanted`.
    fn layer_norm_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        epsilon: f32,
        wanted: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3];
}

/// `(x - mean(x)) / sqrt(var(x) + epsilon) * scale + bias` over each row of `x` `[N, D]`, with `scale` and `bias`
/// `[1, D]` and the variance that divides by D.
pub fn layer_norm(x: Tensor<2>, scale: Tensor<2>, bias: Tensor<2>, epsilon: f32) -> Tensor<2> {
    let (x, scale, bias) = (x.into_dispatch(), scale.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::layer_norm_op(x, scale, bias, epsilon))
}

/// The composed twin of [`layer_norm`].
pub fn composed(x: Tensor<2>, scale: Tensor<2>, bias: Tensor<2>, epsilon: f32) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    centred * variance.add_scalar(epsilon).sqrt().recip() * scale + bias
}

impl LayerNormOps for CubeBackend {
    fn layer_norm_op(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let (x, scale, bias) = (launch::contiguous(x), launch::contiguous(scale), launch::contiguous(bias));
        let [rows, width] = x.meta.shape().dims();
        let y = launch::empty(&x, Shape::new([rows, width]));
        let mut dims = launch::words(&[rows, width]);
        dims.extend(epsilon.to_le_bytes());
        let buffers = [&x.handle, &scale.handle, &bias.handle, &y.handle];
        launch::launch(&x, FORWARD, 64, launch::groups_for(rows, 1), &buffers, &dims);
        y
    }
}

impl LayerNormBackwardOps for CubeBackend {
    fn layer_norm_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        epsilon: f32,
        [with_x, with_scale, with_bias]: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        let (x, scale, dy) = (launch::contiguous(x), launch::contiguous(scale), launch::contiguous(dy));
        let [rows, width] = x.meta.shape().dims();
        let mut dx = None;
        let mut dscale = None;
        if with_x || with_scale {
            let rest = launch::empty(&x, Shape::new([rows, width]));
            // The shader's binding needs a buffer even where the scale is frozen.
            let products = launch::empty(&x, Shape::new(if with_scale { [rows, width] } else { [1, 1] }));
            let mut dims = launch::words(&[rows, width, usize::from(with_scale)]);
            dims.extend(epsilon.to_le_bytes());
            let buffers = [&x.handle, &scale.handle, &dy.handle, &rest.handle, &products.handle];
            launch::launch(&x, BACKWARD, 64, launch::groups_for(rows, 1), &buffers, &dims);
            dx = with_x.then_some(rest);
            dscale = with_scale.then(|| Self::float_sum_dim(products, 0));
        }
        [dx, dscale, with_bias.then(|| Self::float_sum_dim(dy, 0))]
    }
}

/// Mean and `1 / sqrt(var + epsilon)` of a row.
#[inline(always)]
fn statistics(row: &[f32], epsilon: f32) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = sum_of(row, row, |x, _| x) / count;
    let variance = sum_of(row, row, |x, _| (x - mean) * (x - mean)) / count;
    (mean, (variance + epsilon).sqrt().recip())
}

/// Overwrites some rows of `dy` with the gradient of `x`; with `sums` `[2, D]`, adds the rows' part of the gradients of
/// scale and bias to it.
#[inline(always)]
fn backward_rows(x: &[f32], scale: &[f32], dy: &mut [f32], epsilon: f32, mut sums: Option<&mut [f32]>) {
    let width = scale.len();
    for (x, dy) in x.chunks_exact(width).zip(dy.chunks_exact_mut(width)) {
        let (mean, inverse) = statistics(x, epsilon);
        if let Some(sums) = sums.as_deref_mut() {
            let (dscale, dbias) = sums.split_at_mut(width);
            for ((dscale, dbias), (dy, x)) in dscale.iter_mut().zip(dbias).zip(dy.iter().zip(x)) {
                *dscale += dy * (x - mean) * inverse;
                *dbias += dy;
            }
        }
        dy.iter_mut().zip(scale).for_each(|(dy, scale)| *dy *= scale);
        let mean_grad = sum_of(dy, dy, |dy, _| dy) / width as f32;
        let shift = sum_of(dy, x, |dy, x| dy * (x - mean)) * inverse * inverse / width as f32;
        dy.iter_mut().zip(x).for_each(|(dy, x)| *dy = inverse * (*dy - mean_grad - (x - mean) * shift));
    }
}

impl LayerNormOps for Flex {
    fn layer_norm_op(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let (x, scale, bias) = (flex::contiguous(x), flex::contiguous(scale), flex::contiguous(bias));
        let (scale, bias) = (flex::floats(&scale), flex::floats(&bias));
        let width = scale.len();
        flex::changed(x, flex::rows_of(width) * width, |_, rows| {
            wide!({
                for row in rows.chunks_exact_mut(width) {
                    let (mean, inverse) = statistics(row, epsilon);
                    for (x, (scale, bias)) in row.iter_mut().zip(scale.iter().zip(bias)) {
                        *x = (*x - mean) * inverse * scale + bias;
                    }
                }
            });
        })
    }
}

impl LayerNormBackwardOps for Flex {
    fn layer_norm_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        epsilon: f32,
        [with_x, with_scale, with_bias]: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        let (x, scale, mut dy) = (flex::contiguous(x), flex::contiguous(scale), flex::contiguous(dy));
        let scale = flex::floats(&scale);
        let width = scale.len();
        let chunk = flex::rows_of(width) * width;
        let with_sums = with_scale || with_bias;
        let parts: Vec<Vec<f32>> = dy
            .storage_mut::<f32>()
            .par_chunks_mut(chunk)
            .zip(flex::floats(&x).par_chunks(chunk))
            .map(|(dy, x)| {
                let mut sums = vec![0.0; if with_sums { 2 * width } else { 0 }];
                wide!(backward_rows(x, scale, dy, epsilon, with_sums.then_some(&mut sums)));
                sums
            })
            .collect();
        let mut sums = vec![0.0; 2 * width];
        for part in &parts {
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        let row = |values: &[f32]| flex::tensor(values.to_vec(), [1, width]);
        let (dscale, dbias) = sums.split_at(width);
        [with_x.then_some(dy), with_scale.then(|| row(dscale)), with_bias.then(|| row(dbias))]
    }
}

impl<B, C> LayerNormOps for Autodiff<B, C>
where
    B: LayerNormOps + LayerNormBackwardOps,
    C: CheckpointStrategy,
{
    fn layer_norm_op(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        match LayerNorm.prepare::<C>([x.node(), scale.node(), bias.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = LayerNormState::<B> { x: prep.checkpoint(&x), scale: scale.primitive().clone(), epsilon };
                let y = B::layer_norm_op(x.into_primitive(), scale.into_primitive(), bias.into_primitive(), epsilon);
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => {
                let y = B::layer_norm_op(x.into_primitive(), scale.into_primitive(), bias.into_primitive(), epsilon);
                prep.finish(y)
            }
        }
    }
}

#[derive(Debug)]
struct LayerNorm;

#[derive(Clone, Debug)]
struct LayerNormState<B: Backend> {
    x: NodeId,
    scale: FloatTensor<B>,
    epsilon: f32,
}

impl<B: LayerNormBackwardOps> Backward<B, 3> for LayerNorm {
    type State = LayerNormState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let dy = grads.consume::<B>(&ops.node);
        let state = ops.state;
        let x = checkpointer.retrieve_node_output(state.x);
        let gradients = B::layer_norm_backward(x, state.scale, dy, state.epsilon, wanted);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}
