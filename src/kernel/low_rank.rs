//! The product with a low-rank matrix `scale * B A` that is never formed, added to what the layer gives without it, with a
//! handwritten backward pass.
//!
//! On a GPU two of its six products lead into the rank ([`narrow_product`](super::narrow_product)) and take the scale along, two
//! lead out of it ([`super::matrix`]), and two are gradients of narrow weights ([`super::weight_gradient`]). What lies between
//! them does not leave the operation, so ranks that are no multiple of four stay filled up with zeros in it.

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
use burn::tensor::{Device, Tensor};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use burn_flex::Flex;

use super::{
    launch,
    linear::LinearPasses,
    matrix::{MatrixOps, choice},
    narrow_product, pad, weight_gradient,
};

/// Backend dispatch of [`low_rank`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait LowRankOps: Backend {
    /// See [`low_rank`].
    fn low_rank_op(
        residual: FloatTensor<Self>,
        x: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self>;
}

/// The products of a low-rank layer, on backends that compute. Between them goes the narrow tensor `[T, R]`, whose rows may
/// be filled up with zeros.
pub trait LowRankPasses: Backend {
    /// `scale * x A^T` `[T, R]`.
    fn narrowed(x: FloatTensor<Self>, a: FloatTensor<Self>, scale: f32) -> FloatTensor<Self>;

    /// `B` as the next two want it.
    fn prepared(b: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `residual + narrow B^T` `[T, outputs]`.
    fn widened(residual: FloatTensor<Self>, narrow: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Gradient `[T, R]` of `x A^T` from that of the result, `dy` `[T, outputs]`: `scale * dy B`.
    fn narrow_gradient(dy: FloatTensor<Self>, b: FloatTensor<Self>, scale: f32) -> FloatTensor<Self>;

    /// Gradient `[outputs, R]` of `B`, whose rank it is.
    fn widening_gradient(dy: FloatTensor<Self>, narrow: FloatTensor<Self>, rank: usize) -> FloatTensor<Self>;

    /// Gradient `[R, inputs]` of `A`, whose rank it is, from what [`Self::narrow_gradient`] gave.
    fn narrowing_gradient(dnarrow: FloatTensor<Self>, x: FloatTensor<Self>, rank: usize) -> FloatTensor<Self>;

    /// Gradient `[T, inputs]` of `x` from what [`Self::narrow_gradient`] gave.
    fn low_rank_input_gradient(dnarrow: FloatTensor<Self>, a: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// `residual + scale * (x A^T) B^T` `[T, outputs]` for `residual` of that shape, `x` `[T, inputs]`, `a` `[R, inputs]` and `b`
/// `[outputs, R]` (Hu et al. 2021, arXiv 2106.09685). Differentiable in all four.
pub fn low_rank(residual: Tensor<2>, x: Tensor<2>, a: Tensor<2>, b: Tensor<2>, scale: f32) -> Tensor<2> {
    let (residual, x, a, b) = (residual.into_dispatch(), x.into_dispatch(), a.into_dispatch(), b.into_dispatch());
    Tensor::from_dispatch(Dispatch::low_rank_op(residual, x, a, b, scale))
}

/// The composed twin of [`low_rank`].
pub fn composed(residual: Tensor<2>, x: Tensor<2>, a: Tensor<2>, b: Tensor<2>, scale: f32) -> Tensor<2> {
    residual + (x.matmul(a.transpose()) * scale).matmul(b.transpose())
}

/// A product with few inner numbers: the rule for its shape decides, because what was measured of a model's matrices says
/// nothing of it.
fn product(x: CubeTensor, w: CubeTensor, residual: Option<CubeTensor>, along: bool) -> CubeTensor {
    let ([tokens, inner], [rows, cols]) = (x.meta.shape().dims(), w.meta.shape().dims());
    let outer = if along { rows } else { cols };
    let rule = choice::Shape { packing: None, along, tokens, inner, outer }.rule(&Device::from(x.device.clone()));
    match residual {
        Some(residual) => CubeBackend::dense_product_plus_op(x, w, residual, along, Some(rule)),
        None => CubeBackend::dense_product_op(x, w, along, Some(rule)),
    }
}

impl LowRankPasses for CubeBackend {
    fn narrowed(x: FloatTensor<Self>, a: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        narrow_product::to_padded(x, a, true, scale)
    }

    fn prepared(b: FloatTensor<Self>) -> FloatTensor<Self> {
        pad::padded(launch::contiguous(b))
    }

    fn widened(residual: FloatTensor<Self>, narrow: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        product(narrow, b, Some(residual), true)
    }

    fn narrow_gradient(dy: FloatTensor<Self>, b: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        narrow_product::to_padded(dy, b, false, scale)
    }

    fn widening_gradient(dy: FloatTensor<Self>, narrow: FloatTensor<Self>, rank: usize) -> FloatTensor<Self> {
        let [_, outputs] = dy.meta.shape().dims();
        weight_gradient::of_padded(dy, narrow, [outputs, rank], None)
    }

    fn narrowing_gradient(dnarrow: FloatTensor<Self>, x: FloatTensor<Self>, rank: usize) -> FloatTensor<Self> {
        let [_, inputs] = x.meta.shape().dims();
        weight_gradient::of_padded(dnarrow, x, [rank, inputs], None)
    }

    fn low_rank_input_gradient(dnarrow: FloatTensor<Self>, a: FloatTensor<Self>) -> FloatTensor<Self> {
        let ([_, rank], [_, inputs]) = (dnarrow.meta.shape().dims(), a.meta.shape().dims());
        let a = pad::to(launch::contiguous(a), [rank, inputs]);
        product(dnarrow, a, None, false)
    }
}

/// The products of [`super::linear`], in the order in which layers of their own would take them.
impl LowRankPasses for Flex {
    fn narrowed(x: FloatTensor<Self>, a: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        Self::float_mul_scalar(Self::linear_forward(x, a, None, false), scale.into())
    }

    fn prepared(b: FloatTensor<Self>) -> FloatTensor<Self> {
        b
    }

    fn widened(residual: FloatTensor<Self>, narrow: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::linear_forward(narrow, b, Some(residual), false)
    }

    fn narrow_gradient(dy: FloatTensor<Self>, b: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        Self::float_mul_scalar(Self::linear_input_gradient(dy, b, false), scale.into())
    }

    fn widening_gradient(dy: FloatTensor<Self>, narrow: FloatTensor<Self>, _rank: usize) -> FloatTensor<Self> {
        Self::linear_weight_gradient(narrow, dy, false)
    }

    fn narrowing_gradient(dnarrow: FloatTensor<Self>, x: FloatTensor<Self>, _rank: usize) -> FloatTensor<Self> {
        Self::linear_weight_gradient(x, dnarrow, false)
    }

    fn low_rank_input_gradient(dnarrow: FloatTensor<Self>, a: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::linear_input_gradient(dnarrow, a, false)
    }
}

macro_rules! without_gradients {
    ($backend:ty) => {
        impl LowRankOps for $backend {
            fn low_rank_op(
                residual: FloatTensor<Self>,
                x: FloatTensor<Self>,
                a: FloatTensor<Self>,
                b: FloatTensor<Self>,
                scale: f32,
            ) -> FloatTensor<Self> {
                Self::widened(residual, Self::narrowed(x, a, scale), Self::prepared(b))
            }
        }
    };
}
without_gradients!(CubeBackend);
without_gradients!(Flex);

impl<B: LowRankOps + LowRankPasses, C: CheckpointStrategy> LowRankOps for Autodiff<B, C> {
    fn low_rank_op(
        residual: FloatTensor<Self>,
        x: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        match LowRank.prepare::<C>([x.node(), a.node(), b.node(), residual.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let kept = a.is_tracked().then(|| prep.checkpoint(&x));
                let is_kept = b.is_tracked();
                let (a, b) = (a.into_primitive(), B::prepared(b.into_primitive()));
                let narrow = B::narrowed(x.into_primitive(), a.clone(), scale);
                let state = State::<B> { x: kept, narrow: is_kept.then(|| narrow.clone()), a, b: b.clone(), scale };
                prep.finish(state, B::widened(residual.into_primitive(), narrow, b))
            }
            OpsKind::UnTracked(prep) => {
                let [residual, x, a, b] = [residual, x, a, b].map(FloatTensor::<Self>::into_primitive);
                prep.finish(B::low_rank_op(residual, x, a, b, scale))
            }
        }
    }
}

#[derive(Debug)]
struct LowRank;

#[derive(Clone, Debug)]
struct State<B: Backend> {
    /// Where `A` is trained.
    x: Option<NodeId>,
    /// Where `B` is trained.
    narrow: Option<FloatTensor<B>>,
    a: FloatTensor<B>,
    /// As it was prepared.
    b: FloatTensor<B>,
    scale: f32,
}

impl<B: LowRankPasses> Backward<B, 4> for LowRank {
    type State = State<B>;

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let State { x, narrow, a, b, scale } = ops.state;
        let [rank, _] = burn::backend::TensorMetadata::shape(&a).dims();
        let [x_node, a_node, b_node, residual_node] = ops.parents;
        if let (Some(node), Some(narrow)) = (b_node, narrow) {
            grads.register::<B>(node.id, B::widening_gradient(dy.clone(), narrow, rank));
        }
        if let Some(node) = residual_node {
            grads.register::<B>(node.id, dy.clone());
        }
        if x_node.is_none() && a_node.is_none() {
            return;
        }
        let dnarrow = B::narrow_gradient(dy, b, scale);
        if let (Some(node), Some(x)) = (a_node, x) {
            let x = checkpointer.retrieve_node_output(x);
            grads.register::<B>(node.id, B::narrowing_gradient(dnarrow.clone(), x, rank));
        }
        if let Some(node) = x_node {
            grads.register::<B>(node.id, B::low_rank_input_gradient(dnarrow, a));
        }
    }
}
