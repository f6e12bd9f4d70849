//! The sparse delta of a quantized weight, kept separately: a product with a sparse matrix, added to that with the frozen one.
//!
//! Numbers of quantized matrices cannot be changed one by one, so the deltas `D` stay a sparse matrix of their own:
//! `y = x W^T + x D^T`. The backward pass gives `dx = dy D` and the gradient of the deltas; no dense matrix is formed.

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
use burn::tensor::{FloatDType, Int, Tensor};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;

use super::{
    flex, launch,
    masked_gather::{MaskedGatherOps, Strategy},
    matrix::upload,
};

macro_rules! source {
    ($lines:literal) => {
        concat!(
            include_str!(concat!("../../shaders/shared/", $lines, ".wgsl")),
            include_str!("../../shaders/sparse_product.wgsl")
        )
    };
}

const BY_ROWS: &str = source!("sparse_rows");
const BY_COLUMNS: &str = source!("sparse_columns");

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named =
    &[("sparse_product by rows", BY_ROWS), ("sparse_product by columns", BY_COLUMNS)];

/// Where the entries of a sparse matrix are, for products along and across its rows.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Flat and sorted `[N]`.
    indices: Tensor<1, Int>,
    /// Where the entries of each row begin `[rows + 1]`.
    rows: Tensor<1, Int>,
    /// Where those of each column begin in `entries` `[cols + 1]`.
    columns: Tensor<1, Int>,
    /// Numbers of the entries, column by column `[N]`.
    entries: Tensor<1, Int>,
    dims: [usize; 2],
}

impl Pattern {
    /// Of a matrix `[rows, cols]` with entries at `indices`, flat, sorted and inside it, which are `on_device` already.
    pub fn new(indices: &[u32], on_device: Tensor<1, Int>, [rows, cols]: [usize; 2]) -> Self {
        let device = &on_device.device();
        let offsets = |lines: usize, line: &dyn Fn(u32) -> usize| {
            let mut offsets = vec![0u32; lines + 1];
            indices.iter().for_each(|&index| offsets[line(index) + 1] += 1);
            for at in 0..lines {
                offsets[at + 1] += offsets[at];
            }
            offsets
        };
        let column = |index: u32| index as usize % cols;
        let mut entries: Vec<u32> = (0..indices.len() as u32).collect();
        // Stable, so that each column's entries are in the order of their rows.
        entries.sort_by_key(|&entry| column(indices[entry as usize]));
        Self {
            rows: upload(offsets(rows, &|index| index as usize / cols), device),
            columns: upload(offsets(cols, &column), device),
            entries: upload(entries, device),
            indices: on_device,
            dims: [rows, cols],
        }
    }
}

/// Backend dispatch of [`add_sparse_product`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait SparseProductOps: Backend {
    /// See [`add_sparse_product`].
    #[allow(clippy::too_many_arguments, reason = "a matrix in two orders is four vectors")]
    fn add_sparse_product_op(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
        rows: IntTensor<Self>,
        columns: IntTensor<Self>,
        entries: IntTensor<Self>,
        along: bool,
    ) -> FloatTensor<Self>;
}

/// `y + x D^T` `[T, rows]` for `x` `[T, cols]` (`along` the rows of `D`), or `y + x D` `[T, cols]` for `x` `[T, rows]`. `D`
/// `[rows, cols]` has the values `delta` `[N]` where `pattern` says. Differentiable in `y`, `x` and `delta`.
pub fn add_sparse_product(y: Tensor<2>, x: Tensor<2>, delta: Tensor<1>, pattern: &Pattern, along: bool) -> Tensor<2> {
    let Pattern { indices, rows, columns, entries, .. } = pattern.clone();
    Tensor::from_dispatch(Dispatch::add_sparse_product_op(
        y.into_dispatch(),
        x.into_dispatch(),
        delta.into_dispatch(),
        indices.into_dispatch(),
        rows.into_dispatch(),
        columns.into_dispatch(),
        entries.into_dispatch(),
        along,
    ))
}

/// The composed twin of [`add_sparse_product`]: the matrix made dense.
pub fn composed(y: Tensor<2>, x: Tensor<2>, delta: Tensor<1>, pattern: &Pattern, along: bool) -> Tensor<2> {
    let [rows, cols] = pattern.dims;
    let update = burn::tensor::IndexingUpdateOp::Add;
    let dense = Tensor::<1>::zeros([rows * cols], &delta.device())
        .select_assign(0, pattern.indices.clone(), delta, update)
        .reshape([rows, cols]);
    y + x.matmul(if along { dense.transpose() } else { dense })
}

impl SparseProductOps for CubeBackend {
    fn add_sparse_product_op(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
        rows: IntTensor<Self>,
        columns: IntTensor<Self>,
        entries: IntTensor<Self>,
        along: bool,
    ) -> FloatTensor<Self> {
        let (x, delta) = (launch::contiguous(x), launch::contiguous(delta));
        let [tokens, inner] = x.meta.shape().dims();
        let [_, outer] = y.meta.shape().dims();
        let y = launch::contiguous(y);
        let y = if y.can_mut() { y } else { y.copy() };
        let width = if along { inner } else { outer };
        let groups = launch::groups_for(tokens * outer, 64);
        let dims = launch::words(&[tokens, inner, outer, width]);
        if along {
            let buffers = [&x.handle, &delta.handle, &rows.handle, &indices.handle, &y.handle];
            launch::launch(&x, BY_ROWS, 64, groups, &buffers, &dims);
        } else {
            let buffers = [&x.handle, &delta.handle, &columns.handle, &indices.handle, &y.handle, &entries.handle];
            launch::launch(&x, BY_COLUMNS, 64, groups, &buffers, &dims);
        }
        y
    }
}

impl SparseProductOps for Flex {
    fn add_sparse_product_op(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
        _rows: IntTensor<Self>,
        _columns: IntTensor<Self>,
        _entries: IntTensor<Self>,
        along: bool,
    ) -> FloatTensor<Self> {
        let (x, delta, indices) = (flex::contiguous(x), flex::contiguous(delta), flex::contiguous(indices));
        let ([_, inner], [_, outer]) = (x.layout().shape().dims(), y.layout().shape().dims());
        let width = if along { inner } else { outer };
        let (values, indices) = (flex::floats(&delta), flex::indices(&indices));
        let mut y = flex::contiguous(y);
        let sums = y.storage_mut::<f32>();
        for (x, y) in flex::floats(&x).chunks_exact(inner).zip(sums.chunks_exact_mut(outer)) {
            for (&index, &value) in indices.iter().zip(values) {
                let (row, col) = (index as usize / width, index as usize % width);
                let (from, to) = if along { (col, row) } else { (row, col) };
                y[to] += x[from] * value;
            }
        }
        y
    }
}

impl<B, C> SparseProductOps for Autodiff<B, C>
where
    B: SparseProductOps + MaskedGatherOps,
    C: CheckpointStrategy,
{
    fn add_sparse_product_op(
        y: FloatTensor<Self>,
        x: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        indices: IntTensor<Self>,
        rows: IntTensor<Self>,
        columns: IntTensor<Self>,
        entries: IntTensor<Self>,
        along: bool,
    ) -> FloatTensor<Self> {
        let forward = |y: FloatTensor<Self>, x: FloatTensor<Self>, delta: FloatTensor<Self>, state: &State<B>| {
            let State { indices, rows, columns, entries, .. } = state.clone();
            let (y, x, delta) = (y.into_primitive(), x.into_primitive(), delta.into_primitive());
            B::add_sparse_product_op(y, x, delta, indices, rows, columns, entries, along)
        };
        let mut state =
            State::<B> { x: None, delta: delta.primitive().clone(), indices, rows, columns, entries, along };
        match SparseDelta.prepare::<C>([delta.node(), x.node(), y.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                state.x = Some(prep.checkpoint(&x));
                let y = forward(y, x, delta, &state);
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(forward(y, x, delta, &state)),
        }
    }
}

#[derive(Debug)]
struct SparseDelta;

#[derive(Clone, Debug)]
struct State<B: Backend> {
    x: Option<NodeId>,
    delta: FloatTensor<B>,
    indices: IntTensor<B>,
    rows: IntTensor<B>,
    columns: IntTensor<B>,
    entries: IntTensor<B>,
    along: bool,
}

impl<B: SparseProductOps + MaskedGatherOps> Backward<B, 3> for SparseDelta {
    type State = State<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [delta_node, x_node, y_node] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let State { x, delta, indices, rows, columns, entries, along } = ops.state;
        let x: FloatTensor<B> = checkpointer.retrieve_node_output(x.expect("kept when it was tracked"));
        let (dims, dtype) = (x.shape(), FloatDType::F32);
        if let Some(node) = delta_node {
            // The dense gradient is dy^T x, or x^T dy across rows.
            let (x, dy) = if along { (x, dy.clone()) } else { (dy.clone(), x) };
            grads.register::<B>(node.id, B::masked_gather_op(x, dy, indices.clone(), Strategy::Auto));
        }
        if let Some(node) = x_node {
            let zeros = B::float_zeros(dims, &dy.device(), dtype);
            let dx = B::add_sparse_product_op(zeros, dy.clone(), delta, indices, rows, columns, entries, !along);
            grads.register::<B>(node.id, dx);
        }
        if let Some(node) = y_node {
            grads.register::<B>(node.id, dy);
        }
    }
}
