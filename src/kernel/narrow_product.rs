//! Products with few columns: the way into a low-rank product, where many inner numbers meet a rank.
//!
//! Shaders for large products make too few workgroups of such a shape, each with a long sum.

use burn::backend::{Backend, Dispatch, backend_extension, ops::FloatTensorOps, tensor::FloatTensor};
use burn::tensor::{Shape, Tensor};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use burn_flex::Flex;

use super::{launch, linear::LinearPasses, pad::padded};

macro_rules! source {
    ($along:literal) => {
        concat!(
            "const ALONG_ROWS: bool = ",
            $along,
            ";\n",
            include_str!("../../shaders/shared/grid.wgsl"),
            include_str!("../../shaders/narrow_product.wgsl")
        )
    };
}

const ACROSS: &str = source!("false");
const ALONG: &str = source!("true");

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named = &[("narrow_product across", ACROSS), ("narrow_product along", ALONG)];

/// Tokens and outer numbers of a workgroup.
const PIECE: usize = 8;

/// Backend dispatch of [`narrow_product`].
#[backend_extension(Cube, Flex)]
pub trait NarrowProductOps: Backend {
    /// See [`narrow_product`].
    fn narrow_product_op(x: FloatTensor<Self>, w: FloatTensor<Self>, along: bool, scale: f32) -> FloatTensor<Self>;
}

/// `scale * x W^T` `[T, rows]` for `x` `[T, cols]` (`along` the rows of `w` `[rows, cols]`), or `scale * x W` `[T, cols]` for
/// `x` `[T, rows]`.
pub fn narrow_product(x: Tensor<2>, w: Tensor<2>, along: bool, scale: f32) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::narrow_product_op(x.into_dispatch(), w.into_dispatch(), along, scale))
}

/// The composed twin of [`narrow_product`].
pub fn composed(x: Tensor<2>, w: Tensor<2>, along: bool, scale: f32) -> Tensor<2> {
    x.matmul(if along { w.transpose() } else { w }) * scale
}

/// The product with its rows filled up to a multiple of four numbers with zeros.
pub(super) fn to_padded(x: CubeTensor, w: CubeTensor, along: bool, scale: f32) -> CubeTensor {
    let [tokens, inner] = x.meta.shape().dims();
    let [rows, cols] = w.meta.shape().dims();
    let outer = if along { rows } else { cols };
    let (x, w) = (padded(launch::contiguous(x)), padded(launch::contiguous(w)));
    let y = launch::empty(&x, Shape::new([tokens, outer.next_multiple_of(4)]));
    let mut dims = launch::words(&[tokens, inner, outer]);
    dims.extend(scale.to_le_bytes());
    launch::launch(
        &x,
        if along { ALONG } else { ACROSS },
        64,
        launch::grid(outer.div_ceil(PIECE), tokens.div_ceil(PIECE)),
        &[&x.handle, &w.handle, &y.handle],
        &dims,
    );
    y
}

impl NarrowProductOps for CubeBackend {
    fn narrow_product_op(x: FloatTensor<Self>, w: FloatTensor<Self>, along: bool, scale: f32) -> FloatTensor<Self> {
        let [rows, cols] = w.meta.shape().dims();
        launch::first_columns(to_padded(x, w, along, scale), if along { rows } else { cols })
    }
}

impl NarrowProductOps for Flex {
    fn narrow_product_op(x: FloatTensor<Self>, w: FloatTensor<Self>, along: bool, scale: f32) -> FloatTensor<Self> {
        Self::float_mul_scalar(Self::linear_forward(x, w, None, !along), scale.into())
    }
}
