//! The gradient of the selected entries of an embedding table, without the dense gradient.

use burn::backend::{
    Backend, Dispatch, backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{IndexingUpdateOp, Int, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;

use super::{flex, launch};

const SOURCE: &str = include_str!("../../shaders/embedding_gather.wgsl");
const SORT: &str = include_str!("../../shaders/sort_ids.wgsl");

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named = &[("embedding_gather", SOURCE), ("sort_ids", SORT)];

/// Backend dispatch of [`embedding_gather`].
#[backend_extension(Cube, Flex)]
pub trait EmbeddingGatherOps: Backend {
    /// See [`embedding_gather`].
    fn embedding_gather_op(ids: IntTensor<Self>, dy: FloatTensor<Self>, indices: IntTensor<Self>) -> FloatTensor<Self>;
}

/// Gradient `[N]` of the entries `indices` `[N]` (flat into `[vocabulary, width]`) of an embedding table, from the
/// looked-up `ids` `[T]` and the gradient of the output `dy` `[T, width]`.
pub fn embedding_gather(ids: Tensor<1, Int>, dy: Tensor<2>, indices: Tensor<1, Int>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::embedding_gather_op(
        ids.into_dispatch(),
        dy.into_dispatch(),
        indices.into_dispatch(),
    ))
}

/// The composed twin of [`embedding_gather`]; `vocabulary` is the table's number of rows.
pub fn composed(ids: Tensor<1, Int>, dy: Tensor<2>, indices: Tensor<1, Int>, vocabulary: usize) -> Tensor<1> {
    let [_, width] = dy.dims();
    let dense = Tensor::<2>::zeros([vocabulary, width], &dy.device());
    dense.select_assign(0, ids, dy, IndexingUpdateOp::Add).reshape([vocabulary * width]).select(0, indices)
}

/// The tokens in order of their `ids`, and of their own where those are equal: the tokens of one row are neighbours.
fn sorted(ids: &[u32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|&token| ids[token as usize]);
    order
}

impl EmbeddingGatherOps for CubeBackend {
    fn embedding_gather_op(ids: IntTensor<Self>, dy: FloatTensor<Self>, indices: IntTensor<Self>) -> FloatTensor<Self> {
        let (ids, dy, indices) = (launch::contiguous(ids), launch::contiguous(dy), launch::contiguous(indices));
        let [tokens, width] = dy.meta.shape().dims();
        let [count] = indices.meta.shape().dims();
        // The tokens of one row next to each other: an entry reads those that have its row, not all of them.
        let sorted = launch::empty(&dy, Shape::new([2, tokens]));
        let groups = launch::groups_for(tokens, 64);
        launch::launch(&dy, SORT, 64, groups, &[&ids.handle, &sorted.handle], &launch::words(&[tokens]));
        let grad = launch::empty(&dy, Shape::new([count]));
        launch::launch(
            &dy,
            SOURCE,
            64,
            launch::groups_for(count, 64),
            &[&sorted.handle, &dy.handle, &indices.handle, &grad.handle],
            &launch::words(&[tokens, width, count]),
        );
        grad
    }
}

impl EmbeddingGatherOps for Flex {
    fn embedding_gather_op(ids: IntTensor<Self>, dy: FloatTensor<Self>, indices: IntTensor<Self>) -> FloatTensor<Self> {
        let (ids, dy, indices) = (flex::contiguous(ids), flex::contiguous(dy), flex::contiguous(indices));
        let [_, width] = dy.layout().shape().dims();
        let (ids, values, indices) = (flex::indices(&ids), flex::floats(&dy), flex::indices(&indices));

        let order = sorted(&ids);
        let grad = indices
            .iter()
            .map(|&index| {
                let (row, col) = (index as usize / width, index as usize % width);
                let start = order.partition_point(|&token| (ids[token as usize] as usize) < row);
                order[start..]
                    .iter()
                    .take_while(|&&token| ids[token as usize] as usize == row)
                    .map(|&token| values[token as usize * width + col])
                    .sum()
            })
            .collect();
        flex::tensor(grad, [indices.len()])
    }
}
