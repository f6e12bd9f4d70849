//! Layers whose weight is frozen but for a sparse set of entries: differentiable operations with handwritten backward
//! passes.
//!
//! The weight takes part untracked and already holds `base + delta`. The only tracked inputs are the activations and
//! `delta`, whose *value* the forward pass never reads: it is the place where the backward pass leaves the gradient of
//! the selected entries. No weight-shaped gradient is formed. So a layer is its product with the frozen weight, and a
//! tap on it that changes no number and sees the gradient on its way back.

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
use burn::tensor::{Int, Tensor};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;

use super::{
    embedding_gather::EmbeddingGatherOps,
    masked_gather::{MaskedGatherOps, Strategy},
    matrix::Matrix,
};

/// Backend dispatch of the taps. Forward they do nothing on every backend; the implementation for `Autodiff` adds the
/// backward passes.
#[backend_extension(Cube, Flex, Autodiff)]
pub trait SparseLayerOps: Backend {
    /// The tap of [`sparse_linear`]: gives `y` back.
    fn tap_linear_op(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
        transposed: bool,
    ) -> FloatTensor<Self>;

    /// The tap of [`sparse_embedding`]: gives `rows` back.
    fn tap_embedding_op(
        rows: FloatTensor<Self>,
        ids: IntTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
    ) -> FloatTensor<Self>;

    /// See [`sparse_tensor`].
    fn sparse_tensor_op(
        weight: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// `y = x W^T + b` `[T, outputs]` for `x` `[T, inputs]`, a frozen `weight` `[outputs, inputs]` and a `bias` `b` `[1, outputs]`, or
/// a residual `[T, outputs]`; `y = x W + b` where the weight is stored `transposed`, `[inputs, outputs]`. The backward pass gives `dx` and, for the
/// tracked `delta` `[N]`, the gradient of the entries `indices` `[N]`, flat into the weight as it is stored.
pub fn sparse_linear(
    x: Tensor<2>,
    weight: &Matrix,
    delta: Tensor<1>,
    indices: Tensor<1, Int>,
    bias: Option<Tensor<2>>,
    transposed: bool,
) -> Tensor<2> {
    let y = weight.linear(x.clone(), bias, !transposed);
    Tensor::from_dispatch(Dispatch::tap_linear_op(
        y.into_dispatch(),
        x.into_dispatch(),
        delta.into_dispatch(),
        indices.into_dispatch(),
        transposed,
    ))
}

/// Rows `ids` `[T]` of a frozen embedding table `weight` `[vocabulary, width]`, as `[T, width]`; the backward pass
/// gives the tracked `delta` `[N]` the gradient of the entries `indices` `[N]`.
pub fn sparse_embedding(ids: Tensor<1, Int>, weight: &Matrix, delta: Tensor<1>, indices: Tensor<1, Int>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::tap_embedding_op(
        weight.rows(ids.clone()).into_dispatch(),
        ids.into_dispatch(),
        delta.into_dispatch(),
        indices.into_dispatch(),
    ))
}

/// `weight` `[rows, cols]` itself (a norm's scale or a bias, small enough for a dense gradient on the way); the
/// backward pass gives the tracked `delta` `[N]` the gradient of the entries `indices` `[N]`.
pub fn sparse_tensor(weight: Tensor<2>, delta: Tensor<1>, indices: Tensor<1, Int>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::sparse_tensor_op(
        weight.into_dispatch(),
        delta.into_dispatch(),
        indices.into_dispatch(),
    ))
}

/// The forward passes, on any backend.
macro_rules! forward_only {
    ($backend:ty) => {
        impl SparseLayerOps for $backend {
            fn tap_linear_op(
                y: FloatTensor<Self>,
                _x: FloatTensor<Self>,
                _delta: FloatTensor<Self>,
                _indices: IntTensor<Self>,
                _transposed: bool,
            ) -> FloatTensor<Self> {
                y
            }

            fn tap_embedding_op(
                rows: FloatTensor<Self>,
                _ids: IntTensor<Self>,
                _delta: FloatTensor<Self>,
                _indices: IntTensor<Self>,
            ) -> FloatTensor<Self> {
                rows
            }

            fn sparse_tensor_op(
                weight: FloatTensor<Self>,
                _delta: FloatTensor<Self>,
                _indices: IntTensor<Self>,
            ) -> FloatTensor<Self> {
                weight
            }
        }
    };
}

forward_only!(CubeBackend);
forward_only!(Flex);

impl<B, C> SparseLayerOps for Autodiff<B, C>
where
    B: SparseLayerOps + MaskedGatherOps + EmbeddingGatherOps,
    C: CheckpointStrategy,
{
    fn tap_linear_op(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
        transposed: bool,
    ) -> FloatTensor<Self> {
        match Linear.prepare::<C>([delta.node(), y.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let x = delta.is_tracked().then(|| prep.checkpoint(&x));
                let state = LinearState::<B> { x, indices, transposed };
                prep.finish(state, y.into_primitive())
            }
            OpsKind::UnTracked(prep) => prep.finish(y.into_primitive()),
        }
    }

    fn tap_embedding_op(
        rows: FloatTensor<Self>,
        ids: IntTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        match Embedding.prepare::<C>([delta.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(EmbeddingState::<B> { ids, indices }, rows.into_primitive()),
            OpsKind::UnTracked(prep) => prep.finish(rows.into_primitive()),
        }
    }

    fn sparse_tensor_op(
        weight: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let weight = weight.into_primitive();
        match Small.prepare::<C>([delta.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(SmallState::<B> { indices: indices.clone() }, {
                B::sparse_tensor_op(weight, delta.into_primitive(), indices)
            }),
            OpsKind::UnTracked(prep) => prep.finish(B::sparse_tensor_op(weight, delta.into_primitive(), indices)),
        }
    }
}

#[derive(Debug)]
struct Linear;

#[derive(Clone, Debug)]
struct LinearState<B: Backend> {
    /// Where the entries are trained.
    x: Option<NodeId>,
    indices: IntTensor<B>,
    transposed: bool,
}

impl<B: MaskedGatherOps> Backward<B, 2> for Linear {
    type State = LinearState<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [delta_node, y_node] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let state = ops.state;
        if let (Some(node), Some(x)) = (delta_node, state.x) {
            let x = checkpointer.retrieve_node_output(x);
            // The dense gradient is dy^T x, or x^T dy where the weight is stored transposed.
            let (x, dy) = if state.transposed { (dy.clone(), x) } else { (x, dy.clone()) };
            grads.register::<B>(node.id, B::masked_gather_op(x, dy, state.indices, Strategy::Auto));
        }
        if let Some(node) = y_node {
            grads.register::<B>(node.id, dy);
        }
    }
}

#[derive(Debug)]
struct Embedding;

#[derive(Clone, Debug)]
struct EmbeddingState<B: Backend> {
    ids: IntTensor<B>,
    indices: IntTensor<B>,
}

impl<B: EmbeddingGatherOps> Backward<B, 1> for Embedding {
    type State = EmbeddingState<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [delta_node] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        if let Some(node) = delta_node {
            grads.register::<B>(node.id, B::embedding_gather_op(ops.state.ids, dy, ops.state.indices));
        }
    }
}

#[derive(Debug)]
struct Small;

#[derive(Clone, Debug)]
struct SmallState<B: Backend> {
    indices: IntTensor<B>,
}

impl<B: Backend> Backward<B, 1> for Small {
    type State = SmallState<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [delta_node] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        if let Some(node) = delta_node {
            let len = dy.shape().num_elements();
            let flat = B::float_reshape(dy, [len].into());
            grads.register::<B>(node.id, B::float_select(flat, 0, ops.state.indices));
        }
    }
}
