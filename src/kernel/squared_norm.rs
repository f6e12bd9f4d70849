//! The squared norm of a gradient, reduced on the device that holds it.

use burn::backend::{Backend, Dispatch, backend_extension, tensor::FloatTensor};
use burn::tensor::{Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;

use super::{flex, launch};

pub(super) const SOURCE: &str = include_str!("../../shaders/squared_norm.wgsl");

/// Numbers that one workgroup reduces before a second one is worth its launch.
const PER_GROUP: usize = 4096;
/// Most partial sums of the first pass.
const MAX_GROUPS: usize = 256;

/// Backend dispatch of [`squared_norm`].
#[backend_extension(Cube, Flex)]
pub trait SquaredNormOps: Backend {
    /// See [`squared_norm`].
    fn squared_norm_op(values: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Sum of squares `[1]` of `values` `[N]`.
pub fn squared_norm(values: Tensor<1>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::squared_norm_op(values.into_dispatch()))
}

/// The composed twin of [`squared_norm`].
pub fn composed(values: Tensor<1>) -> Tensor<1> {
    (values.clone() * values).sum()
}

impl SquaredNormOps for CubeBackend {
    fn squared_norm_op(values: FloatTensor<Self>) -> FloatTensor<Self> {
        let values = launch::contiguous(values);
        let count = values.meta.shape().num_elements();
        let groups = count.div_ceil(PER_GROUP).clamp(1, MAX_GROUPS);
        let partials = launch::empty(&values, Shape::new([groups]));
        let run = |from: &FloatTensor<Self>, to: &FloatTensor<Self>, groups: usize, count: usize, square: usize| {
            let dims = launch::words(&[count, square]);
            launch::launch(&values, SOURCE, 256, (groups as u32, 1), &[&from.handle, &to.handle], &dims);
        };
        run(&values, &partials, groups, count, 1);
        if groups == 1 {
            return partials;
        }
        let total = launch::empty(&values, Shape::new([1]));
        run(&partials, &total, 1, groups, 0);
        total
    }
}

impl SquaredNormOps for Flex {
    fn squared_norm_op(values: FloatTensor<Self>) -> FloatTensor<Self> {
        let values = flex::contiguous(values);
        // f64, because one running f32 sum over millions of squares would lose the small ones.
        let sum: f64 = flex::floats(&values).iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        flex::tensor(vec![sum as f32], [1])
    }
}
