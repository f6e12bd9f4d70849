//! Linear layers: the products that most of a step consists of, with a handwritten backward pass.
//!
//! On a GPU the two products with the weight are those of frozen matrices ([`super::matrix`]), and its gradient has shaders
//! of its own (`weight_gradient`). On the CPU they run on the products of this crate, which pack less and share
//! better between threads than a library for large matrices, and start from the bias instead of adding it afterwards.

mod passes;

use burn::backend::{
    Autodiff, Backend, Dispatch, TensorMetadata,
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

use super::{
    matrix::{MatrixOps, bias_gradient},
    weight_gradient::WeightGradientOps,
};

pub use passes::LinearPasses;

/// Backend dispatch of [`linear`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait LinearOps: Backend {
    /// See [`linear`].
    fn linear_op(x: FloatTensor<Self>, weight: FloatTensor<Self>, transposed: bool) -> FloatTensor<Self>;

    /// See [`linear`].
    fn linear_with_bias_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        transposed: bool,
    ) -> FloatTensor<Self>;
}

/// `y = x W^T + b` `[T, outputs]` for `x` `[T, inputs]`, `weight` `[outputs, inputs]` (`[inputs, outputs]` where it is stored
/// `transposed`) and `bias` `[1, outputs]`, or `[T, outputs]` if it is what the layer adds its output to.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<2>>, transposed: bool) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => Dispatch::linear_with_bias_op(x, weight, bias.into_dispatch(), transposed),
        None => Dispatch::linear_op(x, weight, transposed),
    })
}

/// The composed twin of [`linear`].
pub fn composed(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<2>>, transposed: bool) -> Tensor<2> {
    let y = x.matmul(if transposed { weight } else { weight.transpose() });
    match bias {
        Some(bias) => y + bias,
        None => y,
    }
}

/// The shaders of frozen matrices: that the weight is trained makes no difference to these products.
impl LinearPasses for CubeBackend {
    fn linear_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        transposed: bool,
    ) -> FloatTensor<Self> {
        match bias {
            Some(bias) => Self::dense_product_plus_op(x, weight, bias, !transposed, None),
            None => Self::dense_product_op(x, weight, !transposed, None),
        }
    }

    fn linear_input_gradient(dy: FloatTensor<Self>, weight: FloatTensor<Self>, transposed: bool) -> FloatTensor<Self> {
        Self::dense_product_op(dy, weight, transposed, None)
    }

    fn linear_weight_gradient(x: FloatTensor<Self>, dy: FloatTensor<Self>, transposed: bool) -> FloatTensor<Self> {
        let (left, right) = if transposed { (x, dy) } else { (dy, x) };
        Self::weight_gradient_op(left, right, None)
    }
}

macro_rules! without_gradients {
    ($backend:ty) => {
        impl LinearOps for $backend {
            fn linear_op(x: FloatTensor<Self>, weight: FloatTensor<Self>, transposed: bool) -> FloatTensor<Self> {
                Self::linear_forward(x, weight, None, transposed)
            }

            fn linear_with_bias_op(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                transposed: bool,
            ) -> FloatTensor<Self> {
                Self::linear_forward(x, weight, Some(bias), transposed)
            }
        }
    };
}
without_gradients!(CubeBackend);
without_gradients!(Flex);

impl<B: LinearOps + LinearPasses, C: CheckpointStrategy> LinearOps for Autodiff<B, C> {
    fn linear_op(x: FloatTensor<Self>, weight: FloatTensor<Self>, transposed: bool) -> FloatTensor<Self> {
        let prepared = Linear.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful();
        recorded(prepared, x, weight, None, transposed)
    }

    fn linear_with_bias_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        transposed: bool,
    ) -> FloatTensor<Self> {
        let prepared = Linear.prepare::<C>([x.node(), weight.node(), bias.node()]).compute_bound().stateful();
        recorded(prepared, x, weight, Some(bias), transposed)
    }
}

/// The forward pass, put on the graph.
fn recorded<B: LinearPasses, C: CheckpointStrategy, const N: usize>(
    prepared: OpsKind<Linear, B, LinearState<B>, C, N>,
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: Option<FloatTensor<Autodiff<B, C>>>,
    transposed: bool,
) -> FloatTensor<Autodiff<B, C>> {
    let adds_one_row = bias.as_ref().is_some_and(|bias| bias.shape()[0] == 1);
    let bias = bias.map(FloatTensor::<Autodiff<B, C>>::into_primitive);
    match prepared {
        OpsKind::Tracked(mut prep) => {
            let kept = weight.is_tracked().then(|| prep.checkpoint(&x));
            let weight = weight.into_primitive();
            let state = LinearState::<B> { x: kept, weight: weight.clone(), transposed, adds_one_row };
            prep.finish(state, B::linear_forward(x.into_primitive(), weight, bias, transposed))
        }
        OpsKind::UnTracked(prep) => {
            prep.finish(B::linear_forward(x.into_primitive(), weight.into_primitive(), bias, transposed))
        }
    }
}

#[derive(Debug)]
struct Linear;

#[derive(Clone, Debug)]
struct LinearState<B: Backend> {
    /// Where the weight is trained.
    x: Option<NodeId>,
    weight: FloatTensor<B>,
    transposed: bool,
    /// Whether one row was added to all.
    adds_one_row: bool,
}

/// With `N = 3` the last parent is the bias.
impl<B: LinearPasses, const N: usize> Backward<B, N> for Linear {
    type State = LinearState<B>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let state = ops.state;
        let mut parents = ops.parents.into_iter();
        let (x_node, weight_node) = (parents.next().flatten(), parents.next().flatten());
        if let Some(node) = parents.next().flatten() {
            grads.register::<B>(node.id, bias_gradient::<B>(dy.clone(), state.adds_one_row));
        }
        if let (Some(node), Some(x)) = (weight_node, state.x) {
            let x = checkpointer.retrieve_node_output(x);
            grads.register::<B>(node.id, B::linear_weight_gradient(x, dy.clone(), state.transposed));
        }
        if let Some(node) = x_node {
            grads.register::<B>(node.id, B::linear_input_gradient(dy, state.weight, state.transposed));
        }
    }
}
