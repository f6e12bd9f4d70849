//! Writing values into selected places of a weight: how an adapter is merged and unmerged, bit for bit.

use burn::backend::{
    Backend, Dispatch, backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{IndexingUpdateOp, Int, Tensor};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use burn_flex::Flex;

use super::{flex, launch};

macro_rules! source {
    ($($write:literal),+) => {
        concat!(
            $(include_str!(concat!("../../shaders/shared/", $write, ".wgsl")),)+
            include_str!("../../shaders/scatter_write.wgsl")
        )
    };
}

pub(super) const SOURCE: &str = source!("write_f32");
pub(super) const SOURCE_BF16: &str = source!("round_bf16", "write_halves");
pub(super) const SOURCE_F16: &str = source!("round_f16", "write_halves");

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named =
    &[("scatter_write", SOURCE), ("scatter_write bf16", SOURCE_BF16), ("scatter_write f16", SOURCE_F16)];

/// Backend dispatch of [`scatter_write`].
#[backend_extension(Cube, Flex)]
pub trait ScatterWriteOps: Backend {
    /// See [`scatter_write`].
    fn scatter_write_op(
        weight: FloatTensor<Self>,
        first: usize,
        indices: IntTensor<Self>,
        values: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// `weight[indices[n]] = values[n]`, in place: `weight` `[rows, cols]`, `indices` `[N]` flat and unique, `values` `[N]`.
/// On the CPU `weight` must be the only handle of its tensor, or it is copied first.
pub fn scatter_write(weight: Tensor<2>, indices: Tensor<1, Int>, values: Tensor<1>) -> Tensor<2> {
    scatter_write_from(weight, 0, indices, values)
}

/// [`scatter_write`] of a part of a weight, which has the numbers from the flat index `first` on: what is beyond it is not
/// written.
pub(super) fn scatter_write_from(
    weight: Tensor<2>,
    first: usize,
    indices: Tensor<1, Int>,
    values: Tensor<1>,
) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::scatter_write_op(
        weight.into_dispatch(),
        first,
        indices.into_dispatch(),
        values.into_dispatch(),
    ))
}

/// The composed twin of [`scatter_write`] (equal up to rounding: it adds a difference).
pub fn composed(weight: Tensor<2>, indices: Tensor<1, Int>, values: Tensor<1>) -> Tensor<2> {
    let [rows, cols] = weight.dims();
    let flat = weight.reshape([rows * cols]);
    let change = values - flat.clone().select(0, indices.clone());
    flat.select_assign(0, indices, change, IndexingUpdateOp::Add).reshape([rows, cols])
}

/// Launches the writing into a weight of `weight_len` numbers from the flat index `first` on.
pub(super) fn launch_write(
    source: &'static str,
    weight: &CubeTensor,
    weight_len: usize,
    first: usize,
    indices: CubeTensor,
    values: CubeTensor,
) {
    let (indices, values) = (launch::contiguous(indices), launch::contiguous(values));
    let [count] = indices.meta.shape().dims();
    launch::launch(
        weight,
        source,
        64,
        launch::groups_for(count, 64),
        &[&weight.handle, &indices.handle, &values.handle],
        &launch::words(&[count, weight_len, first]),
    );
}

impl ScatterWriteOps for CubeBackend {
    fn scatter_write_op(
        weight: FloatTensor<Self>,
        first: usize,
        indices: IntTensor<Self>,
        values: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let weight = launch::in_place(weight);
        launch_write(SOURCE, &weight, weight.meta.shape().num_elements(), first, indices, values);
        weight
    }
}

impl ScatterWriteOps for Flex {
    fn scatter_write_op(
        mut weight: FloatTensor<Self>,
        first: usize,
        indices: IntTensor<Self>,
        values: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (indices, values) = (flex::contiguous(indices), flex::contiguous(values));
        let target = weight.storage_mut::<f32>();
        for (&index, &value) in flex::indices(&indices).iter().zip(flex::floats(&values)) {
            if let Some(number) = target.get_mut(index.wrapping_sub(first as u32) as usize) {
                *number = value;
            }
        }
        weight
    }
}
