//! The products of a linear layer, and how the CPU device computes them.

use burn::backend::{Backend, ops::FloatTensorOps, tensor::FloatTensor};
use burn_flex::{Flex, FlexTensor};

use crate::kernel::{
    flex,
    product::{Operand, Sizes, product},
};

/// Rows of a left matrix below which bringing the right one into panels costs more than it gives.
const FEW_ROWS: usize = 12;

/// The three products of a linear layer, on backends that compute.
pub trait LinearPasses: Backend {
    /// See [`linear`](super::linear()).
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
