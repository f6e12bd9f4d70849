//! The squared norm of all gradients together, reduced on the device that holds them: five tensors a launch.

use burn::backend::{Backend, Dispatch, backend_extension, tensor::FloatTensor};
use burn::tensor::{Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;

use super::{flex, launch};

const ONE: &str = include_str!("../../shaders/squared_norm.wgsl");
const FIVE: &str = include_str!("../../shaders/squared_norms.wgsl");

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named = &[("squared_norm", ONE), ("squared_norms", FIVE)];

/// Numbers that one workgroup reduces before a second one is worth its launch.
const PER_GROUP: usize = 4096;
/// Most partial sums of a tensor.
const MAX_GROUPS: usize = 64;

/// Backend dispatch of [`squared_norm`]: the partial sums `[tensors * groups]` of some tensors are written from `place` on,
/// `groups` of each.
#[backend_extension(Cube, Flex)]
pub trait SquaredNormOps: Backend {
    /// Of one tensor.
    fn squared_norm_op(
        values: FloatTensor<Self>,
        partials: FloatTensor<Self>,
        place: usize,
        groups: usize,
    ) -> FloatTensor<Self>;

    /// Of five tensors.
    #[allow(clippy::too_many_arguments, reason = "one argument a buffer of the kernel")]
    fn squared_norms_op(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        fourth: FloatTensor<Self>,
        fifth: FloatTensor<Self>,
        partials: FloatTensor<Self>,
        place: usize,
        groups: usize,
    ) -> FloatTensor<Self>;

    /// The sum `[1]` of all partial sums.
    fn total_op(partials: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Sum of squares `[1]` of all numbers of `gradients`, vectors of any length, at least one.
pub fn squared_norm(gradients: Vec<Tensor<1>>) -> Tensor<1> {
    let longest = gradients.iter().map(|gradient| gradient.dims()[0]).max().unwrap_or(0);
    let groups = longest.div_ceil(PER_GROUP).clamp(1, MAX_GROUPS);
    let mut place = 0;
    let mut partials = Tensor::<1>::empty([gradients.len() * groups], &gradients[0].device()).into_dispatch();
    let mut left = gradients.into_iter().map(Tensor::into_dispatch);
    while left.len() >= 5 {
        let [first, second, third, fourth, fifth] = std::array::from_fn(|_| left.next().expect("five are left"));
        partials = Dispatch::squared_norms_op(first, second, third, fourth, fifth, partials, place, groups);
        place += 5 * groups;
    }
    for values in left {
        partials = Dispatch::squared_norm_op(values, partials, place, groups);
        place += groups;
    }
    Tensor::from_dispatch(if place == 1 { partials } else { Dispatch::total_op(partials) })
}

/// The composed twin of [`squared_norm`].
pub fn composed(gradients: Vec<Tensor<1>>) -> Tensor<1> {
    Tensor::cat(gradients.into_iter().map(|values| (values.clone() * values).sum()).collect(), 0).sum()
}

/// Reduces one tensor with the shader for one.
fn reduce(
    values: FloatTensor<CubeBackend>,
    partials: FloatTensor<CubeBackend>,
    place: usize,
    groups: usize,
    square: bool,
) -> FloatTensor<CubeBackend> {
    let (values, partials) = (launch::contiguous(values), launch::in_place(partials));
    let dims = launch::words(&[values.meta.shape().num_elements(), usize::from(square), place]);
    launch::launch(&values, ONE, 256, (groups as u32, 1), &[&values.handle, &partials.handle], &dims);
    partials
}

impl SquaredNormOps for CubeBackend {
    fn squared_norm_op(
        values: FloatTensor<Self>,
        partials: FloatTensor<Self>,
        place: usize,
        groups: usize,
    ) -> FloatTensor<Self> {
        reduce(values, partials, place, groups, true)
    }

    fn squared_norms_op(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        fourth: FloatTensor<Self>,
        fifth: FloatTensor<Self>,
        partials: FloatTensor<Self>,
        place: usize,
        groups: usize,
    ) -> FloatTensor<Self> {
        let tensors = [first, second, third, fourth, fifth].map(launch::contiguous);
        let partials = launch::in_place(partials);
        let counts = tensors.each_ref().map(|values| values.meta.shape().num_elements());
        let dims = launch::words(&[&counts[..], &[place]].concat());
        let [a, b, c, d, e] = tensors.each_ref().map(|values| &values.handle);
        let buffers = [a, b, c, d, e, &partials.handle];
        launch::launch(&partials, FIVE, 256, (groups as u32, 5), &buffers, &dims);
        partials
    }

    fn total_op(partials: FloatTensor<Self>) -> FloatTensor<Self> {
        let total = launch::empty(&partials, Shape::new([1]));
        reduce(partials, total, 0, 1, false)
    }
}

impl SquaredNormOps for Flex {
    fn squared_norm_op(
        values: FloatTensor<Self>,
        mut partials: FloatTensor<Self>,
        place: usize,
        groups: usize,
    ) -> FloatTensor<Self> {
        let values = flex::contiguous(values);
        // f64, because one running f32 sum over millions of squares would lose the small ones.
        let sum: f64 = flex::floats(&values).iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        let partials_of_this = &mut partials.storage_mut::<f32>()[place..place + groups];
        partials_of_this.fill(0.0);
        partials_of_this[0] = sum as f32;
        partials
    }

    fn squared_norms_op(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        fourth: FloatTensor<Self>,
        fifth: FloatTensor<Self>,
        partials: FloatTensor<Self>,
        place: usize,
        groups: usize,
    ) -> FloatTensor<Self> {
        let tensors = [first, second, third, fourth, fifth].into_iter().enumerate();
        tensors.fold(partials, |partials, (at, values)| {
            Self::squared_norm_op(values, partials, place + at * groups, groups)
        })
    }

    fn total_op(partials: FloatTensor<Self>) -> FloatTensor<Self> {
        let sum: f64 = flex::floats(&partials).iter().map(|&part| f64::from(part)).sum();
        flex::tensor(vec![sum as f32], [1])
    }
}
