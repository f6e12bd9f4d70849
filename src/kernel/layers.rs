//! Layers whose weight is frozen but for a sparse set of entries: differentiable operations with handwritten backward
//! passes.
//!
//! The weight takes part untracked and already holds `base + delta`. The only tracked inputs are the activations and
//! `delta`, whose *value* the forward pass never reads: it is the place where the backward pass leaves the gradient of
//! the selected entries. No weight-shaped gradient is formed.

use burn::backend::{
    Autodiff, Backend, Dispatch, TensorMetadata,
    autodiff::{
        NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    ops::FloatTensorOps,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{Int, Tensor};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;

use super::{
    embedding_gather::EmbeddingGatherOps,
    masked_gather::{MaskedGatherOps, Strategy},
};

/// Backend dispatch of the sparse layers. The forward passes are the same on every backend; the implementation for
/// `Autodiff` adds the backward passes.
#[backend_extension(Cube, Flex, Autodiff)]
pub trait SparseLayerOps: Backend {
    /// See [`sparse_linear`].
    fn sparse_linear_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
        transposed: bool,
    ) -> FloatTensor<Self>;

    /// See [`sparse_embedding`].
    fn sparse_embedding_op(
        ids: IntTensor<Self>,
        weight: FloatTensor<Self>,
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

/// `y = x W^T` `[T, outputs]` for `x` `[T, inputs]` and a frozen `weight` `[outputs, inputs]`, or `y = x W` where the
/// weight is stored `transposed`, `[inputs, outputs]`. The backward pass gives `dx` and, for the tracked `delta` `[N]`,
/// the gradient of the entries `indices` `[N]`, flat into the weight as it is stored.
pub fn sparse_linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    delta: Tensor<1>,
    indices: Tensor<1, Int>,
    transposed: bool,
) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::sparse_linear_op(
        x.into_dispatch(),
        weight.into_dispatch(),
        delta.into_dispatch(),
        indices.into_dispatch(),
        transposed,
    ))
}

/// Rows `ids` `[T]` of a frozen embedding table `weight` `[vocabulary, width]`, as `[T, width]`; the backward pass
/// gives the tracked `delta` `[N]` the gradient of the entries `indices` `[N]`.
pub fn sparse_embedding(
    ids: Tensor<1, Int>,
    weight: Tensor<2>,
    delta: Tensor<1>,
    indices: Tensor<1, Int>,
) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::sparse_embedding_op(
        ids.into_dispatch(),
        weight.into_dispatch(),
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
            fn sparse_linear_op(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                _delta: FloatTensor<Self>,
                _indices: IntTensor<Self>,
                transposed: bool,
            ) -> FloatTensor<Self> {
                Self::float_matmul(x, if transposed { weight } else { Self::float_transpose(weight) })
            }

            fn sparse_embedding_op(
                ids: IntTensor<Self>,
                weight: FloatTensor<Self>,
                _delta: FloatTensor<Self>,
                _indices: IntTensor<Self>,
            ) -> FloatTensor<Self> {
                Self::float_select(weight, 0, ids)
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
    fn sparse_linear_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
        transposed: bool,
    ) -> FloatTensor<Self> {
        let weight = weight.into_primitive();
        match Linear.prepare::<C>([x.node(), delta.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = LinearState::<B> {
                    x: prep.checkpoint(&x),
                    weight: weight.clone(),
                    indices: indices.clone(),
                    transposed,
                };
                let (x, delta) = (x.into_primitive(), delta.into_primitive());
                prep.finish(state, B::sparse_linear_op(x, weight, delta, indices, transposed))
            }
            OpsKind::UnTracked(prep) => {
                let (x, delta) = (x.into_primitive(), delta.into_primitive());
                prep.finish(B::sparse_linear_op(x, weight, delta, indices, transposed))
            }
        }
    }

    fn sparse_embedding_op(
        ids: IntTensor<Self>,
        weight: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let weight = weight.into_primitive();
        match Embedding.prepare::<C>([delta.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = EmbeddingState::<B> { ids: ids.clone(), indices: indices.clone() };
                prep.finish(state, B::sparse_embedding_op(ids, weight, delta.into_primitive(), indices))
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::sparse_embedding_op(ids, weight, delta.into_primitive(), indices))
            }
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
    x: NodeId,
    weight: FloatTensor<B>,
    indices: IntTensor<B>,
    transposed: bool,
}

impl<B: MaskedGatherOps> Backward<B, 2> for Linear {
    type State = LinearState<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [x_node, delta_node] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let state = ops.state;
        if let Some(node) = delta_node {
            let x = checkpointer.retrieve_node_output(state.x);
            // The dense gradient is dy^T x, or x^T dy where the weight is stored transposed.
            let (x, dy) = if state.transposed { (dy.clone(), x) } else { (x, dy.clone()) };
            grads.register::<B>(node.id, B::masked_gather_op(x, dy, state.indices, Strategy::Auto));
        }
        if let Some(node) = x_node {
            let weight = if state.transposed { B::float_transpose(state.weight) } else { state.weight };
            grads.register::<B>(node.id, B::float_matmul(dy, weight));
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
