//! Products along the rows of the blocks of a split matrix, side by side.
//!
//! A block's product is put to its columns as soon as it is there, and on the way back a block reads its own columns of the
//! gradient only: beside the whole product, that of one block is all that exists.

use std::ops::Range;

use burn::backend::{
    Autodiff, Backend, Dispatch, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops},
    },
    backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{Slice, Tensor};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;

use crate::kernel::matrix::{Factor, Layout, Matrix, MatrixOps, Packed, recorded};

/// Columns `first..` of `y` `[T, rows]` become the product of `x` `[T, cols]` along the rows of a block.
pub(super) fn columns(y: Tensor<2>, x: Tensor<2>, block: &Matrix, first: usize) -> Tensor<2> {
    let (y, x) = (y.into_dispatch(), x.into_dispatch());
    Tensor::from_dispatch(match block {
        Matrix::Dense(values) => Dispatch::dense_columns_op(y, x, values.clone().into_dispatch(), first),
        Matrix::Packed(Packed { words, layout }) => {
            Dispatch::packed_columns_op(y, x, words.clone().into_dispatch(), *layout, first)
        }
        Matrix::Split(_) => unreachable!("blocks are not split"),
    })
}

/// Backend dispatch of the products along the rows of a block. `y` is written in place where nothing else holds it.
#[backend_extension(Cube, Flex, Autodiff)]
pub trait ColumnsOps: Backend {
    /// Writes `x W^T` for a block `w` in f32 into the columns `first..` of `y`.
    fn dense_columns_op(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        first: usize,
    ) -> FloatTensor<Self>;

    /// The same for a packed block.
    fn packed_columns_op(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        layout: Layout,
        first: usize,
    ) -> FloatTensor<Self>;
}

/// Puts the product with a block to its columns.
fn put<B: Backend>(y: FloatTensor<B>, part: FloatTensor<B>, first: usize) -> FloatTensor<B> {
    let [tokens, width] = part.shape().dims();
    B::float_slice_assign(y, &[Slice::from(0..tokens), Slice::from(first..first + width)], part)
}

macro_rules! without_gradients {
    ($backend:ty) => {
        impl ColumnsOps for $backend {
            fn dense_columns_op(
                y: FloatTensor<Self>,
                x: FloatTensor<Self>,
                w: FloatTensor<Self>,
                first: usize,
            ) -> FloatTensor<Self> {
                put::<Self>(y, Self::dense_product_op(x, w, true, None), first)
            }

            fn packed_columns_op(
                y: FloatTensor<Self>,
                x: FloatTensor<Self>,
                words: IntTensor<Self>,
                layout: Layout,
                first: usize,
            ) -> FloatTensor<Self> {
                put::<Self>(y, Self::packed_product_op(x, words, layout, true, None), first)
            }
        }
    };
}
without_gradients!(CubeBackend);
without_gradients!(Flex);

impl<B: ColumnsOps + MatrixOps, C: CheckpointStrategy> ColumnsOps for Autodiff<B, C> {
    fn dense_columns_op(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        first: usize,
    ) -> FloatTensor<Self> {
        let w = w.into_primitive();
        let columns = first..first + w.shape()[0];
        let prepared = Columns.prepare::<C>([x.node(), y.node()]).compute_bound().stateful();
        let state = Block { factor: Factor::Dense(w.clone(), true), columns };
        recorded(prepared, state, B::dense_columns_op(y.into_primitive(), x.into_primitive(), w, first))
    }

    fn packed_columns_op(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        layout: Layout,
        first: usize,
    ) -> FloatTensor<Self> {
        let prepared = Columns.prepare::<C>([x.node(), y.node()]).compute_bound().stateful();
        let columns = first..first + layout.rows;
        let state = Block { factor: Factor::Packed(words.clone(), layout, true), columns };
        recorded(prepared, state, B::packed_columns_op(y.into_primitive(), x.into_primitive(), words, layout, first))
    }
}

#[derive(Debug)]
struct Columns;

/// The frozen factor of a product along its rows, and which columns of the whole product are its own.
#[derive(Clone, Debug)]
struct Block<B: Backend> {
    factor: Factor<B>,
    columns: Range<usize>,
}

impl<B: MatrixOps> Backward<B, 2> for Columns {
    type State = Block<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [x_node, y_node] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let [tokens, _] = dy.shape().dims();
        if let Some(node) = x_node {
            let own = B::float_slice(dy.clone(), &[Slice::from(0..tokens), Slice::from(ops.state.columns)]);
            grads.register::<B>(node.id, ops.state.factor.input_gradient(own));
        }
        // What was in these columns before was written over; each block reads only its own, so the others may see them.
        if let Some(node) = y_node {
            grads.register::<B>(node.id, dy);
        }
    }
}
