//! The gradient of a weight that is trained as a whole: `dW = dy^T x` for `y = x W^T`.
//!
//! Both matrices are stored token by token, and the sum goes over the tokens: neither has to be transposed. Where the
//! weight is too small to keep a GPU busy, the tokens are dealt out in parts whose sums are added up afterwards.

use burn::backend::{Backend, Dispatch, backend_extension, tensor::FloatTensor};
use burn::tensor::{Device, Shape, Tensor};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use burn_flex::Flex;

use super::{launch, linear::LinearPasses, pad::padded};
use crate::device::is_software;

/// A shader with what it needs in front.
macro_rules! source {
    ($file:literal $(, $name:literal : $kind:literal = $value:literal)*) => {
        concat!(
            $("const ", $name, ": ", $kind, " = ", $value, ";\n",)*
            include_str!("../../shaders/shared/grid.wgsl"),
            include_str!("../../shaders/shared/weight_gradient.wgsl"),
            include_str!(concat!("../../shaders/", $file, ".wgsl"))
        )
    };
}

/// The narrow one for 1, 2 and 4 vectors of the narrow side.
macro_rules! narrow {
    ($left_is_wide:literal) => {
        [narrow!($left_is_wide, "1u"), narrow!($left_is_wide, "2u"), narrow!($left_is_wide, "4u")]
    };
    ($left_is_wide:literal, $vectors:literal) => {
        source!("weight_gradient_narrow", "LEFT_IS_WIDE": "bool" = $left_is_wide, "VECTORS": "u32" = $vectors)
    };
}

const BLOCK: &str = source!("weight_gradient_block");
const TILED: &str = source!("weight_gradient_tiled", "LANES": "u32" = "8u");
const WIDE: &str = source!("weight_gradient_tiled", "LANES": "u32" = "16u");
const SUM: &str = include_str!("../../shaders/weight_gradient_sum.wgsl");
/// By whether the right matrix is the wide one, then the left one.
const NARROW: [[&str; 3]; 2] = [narrow!("false"), narrow!("true")];

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named = &[
    ("weight_gradient_block", BLOCK),
    ("weight_gradient_tiled", TILED),
    ("weight_gradient_tiled wide", WIDE),
    ("weight_gradient_narrow right 1", NARROW[0][0]),
    ("weight_gradient_narrow right 2", NARROW[0][1]),
    ("weight_gradient_narrow right 4", NARROW[0][2]),
    ("weight_gradient_narrow left 1", NARROW[1][0]),
    ("weight_gradient_narrow left 2", NARROW[1][1]),
    ("weight_gradient_narrow left 4", NARROW[1][2]),
    ("weight_gradient_sum", SUM),
];

/// A way to form the gradient; the result is the same up to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Blocks in registers, read straight from memory.
    Block,
    /// Tiles of 64 by 64 in workgroup memory.
    Tiled,
    /// Tiles of 128 by 128 in workgroup memory.
    Wide,
    /// Four neighbours of one side and up to sixteen of the other one a lane.
    Narrow,
}

/// Every way.
pub const FORMS: [Form; 4] = [Form::Block, Form::Tiled, Form::Wide, Form::Narrow];

/// Numbers of the narrow side of a weight, up to which [`Form::Narrow`] reads the wide matrix only once.
const NARROW_SIDE: usize = 16;
/// Workgroups that keep a large GPU busy: a few for each of about 130 processors; tiles of 128 by 128 fill one with two.
const ENOUGH: usize = 512;
const ENOUGH_WIDE: usize = 256;
/// Those that keep the processors behind a software adapter busy.
const ENOUGH_SOFTWARE: usize = 8;
/// Fewer tokens are not worth a part of their own: on hardware, and on software adapters, to which a launch is dear.
const FEWEST_TOKENS: [usize; 2] = [32, 256];

/// Tokens up to which an f32 counts exactly, as the shader of tiles wants it.
const MOST_TOKENS: usize = 1 << 24;

/// How a gradient is formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    form: Form,
    /// Tokens of a part; a multiple of four.
    tokens: usize,
    parts: usize,
    /// Workgroups of a part.
    groups: [usize; 2],
}

impl Plan {
    /// For the gradient `[rows, cols]` from so many tokens. On hardware the choice is a rule: tiles as large as still make
    /// enough workgroups, because a tile's traffic shrinks with its side. Software adapters have caches in place of
    /// workgroup memory (`agoge bench matmul` compares the ways).
    fn new(tokens: usize, [rows, cols]: [usize; 2], software: bool, form: Option<Form>) -> Self {
        let wide_tiles = rows.div_ceil(128) * cols.div_ceil(128);
        let form = form.unwrap_or(match software {
            true => Form::Block,
            false if rows.min(cols) <= NARROW_SIDE => Form::Narrow,
            false if 2 * wide_tiles >= ENOUGH_WIDE => Form::Wide,
            false => Form::Tiled,
        });
        let groups = match form {
            Form::Block | Form::Tiled => [cols.div_ceil(64), rows.div_ceil(64)],
            Form::Wide => [cols.div_ceil(128), rows.div_ceil(128)],
            Form::Narrow => {
                let (wide, narrow) = (rows.max(cols), rows.min(cols));
                [wide.div_ceil(256), narrow.div_ceil(4 * vectors(narrow))]
            }
        };
        let enough = match form {
            _ if software => ENOUGH_SOFTWARE,
            Form::Wide | Form::Narrow => ENOUGH_WIDE,
            Form::Block | Form::Tiled => ENOUGH,
        };
        let wanted = enough.div_ceil((groups[0] * groups[1]).max(1));
        let wanted = wanted.clamp(1, (tokens / FEWEST_TOKENS[usize::from(software)]).max(1));
        let of_part = tokens.div_ceil(wanted).next_multiple_of(4).max(4);
        Self { form, tokens: of_part, parts: tokens.div_ceil(of_part).max(1), groups }
    }
}

/// Vectors of the narrow side that a lane of [`Form::Narrow`] has.
fn vectors(narrow: usize) -> usize {
    match narrow {
        0..=4 => 1,
        5..=8 => 2,
        _ => 4,
    }
}

/// Backend dispatch of [`weight_gradient`].
#[backend_extension(Cube, Flex)]
pub trait WeightGradientOps: Backend {
    /// `left^T right` `[rows, cols]` of `left` `[T, rows]` and `right` `[T, cols]`. Without a form the best one is chosen.
    fn weight_gradient_op(left: FloatTensor<Self>, right: FloatTensor<Self>, form: Option<Form>) -> FloatTensor<Self>;
}

/// `dy^T x` `[outputs, inputs]` of `x` `[T, inputs]` and `dy` `[T, outputs]`, in a given way on a GPU, or in the one expected
/// to be the fastest.
pub fn weight_gradient(x: Tensor<2>, dy: Tensor<2>, form: Option<Form>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::weight_gradient_op(dy.into_dispatch(), x.into_dispatch(), form))
}

/// The composed twin of [`weight_gradient`].
pub fn composed(x: Tensor<2>, dy: Tensor<2>) -> Tensor<2> {
    dy.transpose().matmul(x)
}

/// `left^T right`, of which `dims` are the true widths where the rows are padded already.
pub(super) fn of_padded(
    left: CubeTensor,
    right: CubeTensor,
    dims: [usize; 2],
    form: Option<Form>,
) -> FloatTensor<CubeBackend> {
    let (left, right) = (padded(launch::contiguous(left)), padded(launch::contiguous(right)));
    let [tokens, _] = left.meta.shape().dims();
    assert!(tokens <= MOST_TOKENS, "a gradient is summed up over {MOST_TOKENS} tokens at most, not {tokens}");
    let [rows, cols] = dims;
    let plan = Plan::new(tokens, dims, is_software(&Device::from(left.device.clone())), form);
    let (text, lanes) = match plan.form {
        Form::Block => (BLOCK, 64),
        Form::Tiled => (TILED, 64),
        Form::Wide => (WIDE, 256),
        Form::Narrow => (NARROW[usize::from(rows > cols)][vectors(rows.min(cols)) / 2], 64),
    };
    let [across, down] = plan.groups;
    let sums = launch::empty(&left, Shape::new([plan.parts * rows, cols]));
    launch::launch(
        &left,
        text,
        lanes,
        launch::grid(across, down * plan.parts),
        &[&left.handle, &right.handle, &sums.handle],
        &launch::words(&[tokens, rows, cols, plan.tokens, down]),
    );
    if plan.parts == 1 {
        return sums;
    }
    let grad = launch::empty(&left, Shape::new([rows, cols]));
    let parameters = launch::words(&[plan.parts, rows * cols]);
    launch::launch(&left, SUM, 64, launch::groups_for(rows * cols, 64), &[&sums.handle, &grad.handle], &parameters);
    grad
}

impl WeightGradientOps for CubeBackend {
    fn weight_gradient_op(left: FloatTensor<Self>, right: FloatTensor<Self>, form: Option<Form>) -> FloatTensor<Self> {
        let ([_, rows], [_, cols]) = (left.meta.shape().dims(), right.meta.shape().dims());
        of_padded(left, right, [rows, cols], form)
    }
}

impl WeightGradientOps for Flex {
    fn weight_gradient_op(left: FloatTensor<Self>, right: FloatTensor<Self>, _form: Option<Form>) -> FloatTensor<Self> {
        Self::linear_weight_gradient(right, left, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_tokens_and_fill_a_gpu() {
        for tokens in [0, 1, 7, 33, 64, 513, 1024, 5000] {
            for dims in [[1, 1], [16, 2048], [2048, 16], [576, 576], [2048, 2048], [128_256, 2048], [64, 64], [3, 200]]
            {
                for software in [false, true] {
                    for form in FORMS.into_iter().map(Some).chain([None]) {
                        let plan = Plan::new(tokens, dims, software, form);
                        let what = format!("{tokens} {dims:?} {software} {plan:?}");
                        assert!(plan.parts * plan.tokens >= tokens, "{what}");
                        assert!((plan.parts - 1) * plan.tokens < tokens.max(1), "{what}: no part is empty");
                    }
                }
            }
        }
        let groups = |tokens, dims| {
            let plan = Plan::new(tokens, dims, false, None);
            (plan.form, plan.parts * plan.groups[0] * plan.groups[1])
        };
        assert_eq!(groups(1024, [2048, 2048]), (Form::Wide, 256));
        assert_eq!(groups(1024, [8192, 2048]), (Form::Wide, 1024));
        for (dims, form) in [([576, 576], Form::Tiled), ([16, 2048], Form::Narrow), ([64, 2048], Form::Tiled)] {
            let (taken, groups) = groups(1024, dims);
            assert!(taken == form && groups >= 200, "{dims:?}: {taken:?}, {groups} workgroups");
        }
    }
}
