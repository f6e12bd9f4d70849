//! Matrices filled up with zeros, so that shaders read whole vectors. The widths of real models are multiples of four
//! already.

use burn::backend::{Backend, Dispatch, backend_extension, tensor::FloatTensor};
use burn::tensor::{Shape, Tensor};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use burn_flex::Flex;

use super::{flex, launch};

const SOURCE: &str = include_str!("../../shaders/pad.wgsl");

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named = &[("pad", SOURCE)];

/// A tensor in row-major order as `[rows, width]`, which are not smaller than it is. One of that shape is given back.
pub(super) fn to(tensor: CubeTensor, [rows, width]: [usize; 2]) -> CubeTensor {
    let dims: [usize; 2] = tensor.meta.shape().dims();
    if dims == [rows, width] {
        return tensor;
    }
    let filled = launch::empty(&tensor, Shape::new([rows, width]));
    let count = rows * width;
    let parameters = launch::words(&[dims[0], dims[1], width, count]);
    let groups = launch::groups_for(count, 64);
    launch::launch(&tensor, SOURCE, 64, groups, &[&tensor.handle, &filled.handle], &parameters);
    filled
}

/// Rows filled up to a multiple of four columns.
pub(super) fn padded(tensor: CubeTensor) -> CubeTensor {
    let [rows, width] = tensor.meta.shape().dims();
    to(tensor, [rows, width.next_multiple_of(4)])
}

/// Backend dispatch of [`pad`].
#[backend_extension(Cube, Flex)]
pub trait PadOps: Backend {
    /// See [`pad`].
    fn pad_op(x: FloatTensor<Self>, dims: [usize; 2]) -> FloatTensor<Self>;
}

/// `x` `[rows, width]` with zeros behind its rows and columns, as a matrix of `dims`, which are not smaller.
pub fn pad(x: Tensor<2>, dims: [usize; 2]) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::pad_op(x.into_dispatch(), dims))
}

/// The composed twin of [`pad`].
pub fn composed(x: Tensor<2>, dims: [usize; 2]) -> Tensor<2> {
    let [rows, width] = x.dims();
    Tensor::zeros(dims, &x.device()).slice_assign([0..rows, 0..width], x)
}

impl PadOps for CubeBackend {
    fn pad_op(x: FloatTensor<Self>, dims: [usize; 2]) -> FloatTensor<Self> {
        to(launch::contiguous(x), dims)
    }
}

impl PadOps for Flex {
    fn pad_op(x: FloatTensor<Self>, [rows, width]: [usize; 2]) -> FloatTensor<Self> {
        let x = flex::contiguous(x);
        let [had, wide] = x.layout().shape().dims();
        let mut filled = vec![0.0; rows * width];
        for (to, from) in filled.chunks_exact_mut(width).zip(flex::floats(&x).chunks_exact(wide)).take(had) {
            to[..wide].copy_from_slice(from);
        }
        flex::tensor(filled, [rows, width])
    }
}
