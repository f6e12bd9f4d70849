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
    linear::LinearPasses,
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

    /// See [`sparse_linear`].
    fn sparse_linear_with_bias_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
        bias: FloatTensor<Self>,
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

/// `y = x W^T + b` `[T, outputs]` for `x` `[T, inputs]`, a frozen `weight` `[outputs, inputs]` and a `bias` `[1, outputs]`, or
/// `y = x W + b` where the weight is stored `transposed`, `[inputs, outputs]`. The backward pass gives `dx` and, for the
/// tracked `delta` `[N]`, the gradient of the entries `indices` `[N]`, flat into the weight as it is stored.
pub fn sparse_linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    delta: Tensor<1>,
    indices: Tensor<1, Int>,
    bias: Option<Tensor<2>>,
    transposed: bool,
) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let (delta, indices) = (delta.into_dispatch(), indices.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => Dispatch::sparse_linear_with_bias_op(x, weight, delta, indices, bias.into_dispatch(), transposed),
        None => Dispatch::sparse_linear_op(x, weight, delta, indices, transposed),
    })
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
                Self::linear_forward(x, weight, None, transposed)
            }

            fn sparse_linear_with_bias_op(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                _delta: FloatTensor<Self>,
                _indices: IntTensor<Self>,
                bias: FloatTensor<Self>,
                transposed: bool,
            ) -> FloatTensor<Self> {
                Self::linear_forward(x, weight, Some(bias), transposed)
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
    B: SparseLayerOps + LinearPasses + MaskedGatherOps + EmbeddingGatherOps,
    C: CheckpointStrategy,
{
    fn sparse_linear_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
        transposed: bool,
    ) -> FloatTensor<Self> {
        let prepared = Linear.prepare::<C>([x.node(), delta.node()]).compute_bound().stateful();
        recorded(prepared, x, weight, &delta, indices, None, transposed)
    }

    fn sparse_linear_with_bias_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
        bias: FloatTensor<Self>,
        transposed: bool,
    ) -> FloatTensor<Self> {
        let prepared = Linear.prepare::<C>([x.node(), delta.node(), bias.node()]).compute_bound().stateful();
        recorded(prepared, x, weight, &delta, indices, Some(bias), transposed)
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

/// The forward pass of a linear layer, put on the graph.
fn recorded<B, C, const N: usize>(
    prepared: OpsKind<Linear, B, LinearState<B>, C, N>,
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    delta: &FloatTensor<Autodiff<B, C>>,
    indices: IntTensor<B>,
    bias: Option<FloatTensor<Autodiff<B, C>>>,
    transposed: bool,
) -> FloatTensor<Autodiff<B, C>>
where
    B: LinearPasses + MaskedGatherOps,
    C: CheckpointStrategy,
{
    let (weight, bias) = (weight.into_primitive(), bias.map(FloatTensor::<Autodiff<B, C>>::into_primitive));
    match prepared {
        OpsKind::Tracked(mut prep) => {
            let kept = delta.is_tracked().then(|| prep.checkpoint(&x));
            let state = LinearState::<B> { x: kept, weight: weight.clone(), indices, transposed };
            prep.finish(state, B::linear_forward(x.into_primitive(), weight, bias, transposed))
        }
        OpsKind::UnTracked(prep) => prep.finish(B::linear_forward(x.into_primitive(), weight, bias, transposed)),
    }
}

#[derive(Debug)]
struct Linear;

#[derive(Clone, Debug)]
struct LinearState<B: Backend> {
    /// Where the entries are trained.
    x: Option<NodeId>,
    weight: FloatTensor<B>,
    indices: IntTensor<B>,
    transposed: bool,
}

/// With `N = 3` the last parent is the bias.
impl<B: LinearPasses + MaskedGatherOps, const N: usize> Backward<B, N> for Linear {
    type State = LinearState<B>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let state = ops.state;
        let mut parents = ops.parents.into_iter();
        let (x_node, delta_node) = (parents.next().flatten(), parents.next().flatten());
        if let Some(node) = parents.next().flatten() {
            grads.register::<B>(node.id, B::float_sum_dim(dy.clone(), 0));
        }
        if let (Some(node), Some(x)) = (delta_node, state.x) {
            let x = checkpointer.retrieve_node_output(x);
            // The dense gradient is dy^T x, or x^T dy where the weight is stored transposed.
            let (x, dy) = if state.transposed { (dy.clone(), x) } else { (x, dy.clone()) };
            grads.register::<B>(node.id, B::masked_gather_op(x, dy, state.indices, Strategy::Auto));
        }
        if let Some(node) = x_node {
            grads.register::<B>(node.id, B::linear_input_gradient(dy, state.weight, state.transposed));
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
