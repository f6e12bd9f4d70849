//! Linear layers: the products that most of a step consists of, with a handwritten backward pass.
//!
//! On a GPU the two products with the weight are those of frozen matrices ([`super::matrix`]), and its gradient has shaders
//! of its own ([`super::weight_gradient`]). On the CPU they run on the products of this crate, which pack less and share
//! better between threads than a library for large matrices, and start from the bias instead of adding it afterwards.

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
    tensor::FloatTensor,
};
use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;
use burn_flex::{Flex, FlexTensor};

use super::{
    flex,
    matrix::{MatrixOps, bias_gradient},
    product::{Operand, Sizes, product},
    weight_gradient::WeightGradientOps,
};

/// Rows of a left matrix below which bringing the right one into panels costs more than it gives.
const FEW_ROWS: usize = 12;

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

/// The three products of a linear layer, on backends that compute.
pub trait LinearPasses: Backend {
    /// See [`linear`].
    fn linear_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        transposed: bool,
    ) -> FloatTensor<Self>;

    /// Gradient `[T, inputs]` of `x`, from that of the result, `dy` `[T, outputs]`.
    fn linear_input_gradient(dy: FloatTensor<Self>, weight: FloatTensor<Self>, transposed: bool) -> FloatTensor<Self>;

    /// Gradient of the weight, of its shape.
    fn linear_weight_gradient(x: FloatTensor<Self>, dy: FloatTensor<Self>, transposed: bool) -> FloatTensor<Self>;
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

/// The product `[rows, columns]` of a matrix that is stored by rows and another one.
fn rows_by(left: &FlexTensor, right: Operand, columns: usize, bias: Option<&[f32]>) -> FlexTensor {
    let [rows, depth] = left.layout().shape().dims();
    let sizes = Sizes { rows, columns, depth };
    flex::tensor(product(Operand::stored(flex::floats(left), depth), right, sizes, bias), [rows, columns])
}

impl LinearPasses for Flex {
    fn linear_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        transposed: bool,
    ) -> FloatTensor<Self> {
        let [rows, inputs] = x.layout().shape().dims();
        // The products of this crate start from one row for all.
        let each_row = bias.as_ref().is_some_and(|bias| bias.layout().shape()[0] != 1);
        if rows < FEW_ROWS {
            let y = Self::float_matmul(x, if transposed { weight } else { Self::float_transpose(weight) });
            return match bias {
                Some(bias) => Self::float_add(y, bias),
                None => y,
            };
        }
        let (x, weight, bias) = (flex::contiguous(x), flex::contiguous(weight), bias.map(flex::contiguous));
        let outputs = weight.layout().num_elements() / inputs.max(1);
        let values = flex::floats(&weight);
        let right = if transposed { Operand::stored(values, outputs) } else { Operand::transpose_of(values, inputs) };
        match bias {
            Some(bias) if each_row => Self::float_add(rows_by(&x, right, outputs, None), bias),
            bias => rows_by(&x, right, outputs, bias.as_ref().map(flex::floats)),
        }
    }

    fn linear_input_gradient(dy: FloatTensor<Self>, weight: FloatTensor<Self>, transposed: bool) -> FloatTensor<Self> {
        let [rows, outputs] = dy.layout().shape().dims();
        if rows < FEW_ROWS {
            return Self::float_matmul(dy, if transposed { Self::float_transpose(weight) } else { weight });
        }
        let (dy, weight) = (flex::contiguous(dy), flex::contiguous(weight));
        let inputs = weight.layout().num_elements() / outputs.max(1);
        let values = flex::floats(&weight);
        let right = if transposed { Operand::transpose_of(values, outputs) } else { Operand::stored(values, inputs) };
        rows_by(&dy, right, inputs, None)
    }

    fn linear_weight_gradient(x: FloatTensor<Self>, dy: FloatTensor<Self>, transposed: bool) -> FloatTensor<Self> {
        let (left, right) = if transposed { (x, dy) } else { (dy, x) };
        let (left, right) = (flex::contiguous(left), flex::contiguous(right));
        let [depth, rows] = left.layout().shape().dims();
        let [_, columns] = right.layout().shape().dims();
        let sizes = Sizes { rows, columns, depth };
        let (left, right) = (flex::floats(&left), flex::floats(&right));
        let values = product(Operand::transpose_of(left, rows), Operand::stored(right, columns), sizes, None);
        flex::tensor(values, [rows, columns])
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
