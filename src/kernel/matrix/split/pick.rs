//! Rows and single numbers out of the blocks of a split matrix.

use burn::backend::{
    Backend, Dispatch, backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{Int, Tensor};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use burn_flex::{Flex, FlexTensor};

use crate::kernel::{
    flex, launch,
    matrix::{Layout, Matrix, Packed, Packing, cpu},
};

/// Those rows of `out` `[N, cols]` whose `ids` `[N]` are in a block that begins with row `first` become its rows; `flat`ly
/// single numbers, `[N, 1]`.
pub(super) fn pick(out: Tensor<2>, ids: Tensor<1, Int>, block: &Matrix, first: usize, flat: bool) -> Tensor<2> {
    let (out, ids) = (out.into_dispatch(), ids.into_dispatch());
    let [rows, cols] = if flat { [block.dims().into_iter().product(), 1] } else { block.dims() };
    Tensor::from_dispatch(match block {
        Matrix::Dense(values) => {
            Dispatch::dense_pick_op(out, ids, values.clone().reshape([rows, cols]).into_dispatch(), first)
        }
        Matrix::Packed(Packed { words, layout }) => {
            let layout = Layout { rows, cols, ..*layout };
            Dispatch::packed_pick_op(out, ids, words.clone().into_dispatch(), layout, first)
        }
        Matrix::Split(_) => unreachable!("blocks are not split"),
    })
}

/// Backend dispatch of rows out of a block. `out` is written in place.
#[backend_extension(Cube, Flex)]
pub trait PickOps: Backend {
    /// Writes the rows of a block `w` in f32, which begins with row `first`, to where `ids` name them.
    fn dense_pick_op(
        out: FloatTensor<Self>,
        ids: IntTensor<Self>,
        w: FloatTensor<Self>,
        first: usize,
    ) -> FloatTensor<Self>;

    /// The same for a packed block.
    fn packed_pick_op(
        out: FloatTensor<Self>,
        ids: IntTensor<Self>,
        words: IntTensor<Self>,
        layout: Layout,
        first: usize,
    ) -> FloatTensor<Self>;
}

macro_rules! source {
    ($($number:literal),+) => {
        concat!(
            $(include_str!(concat!("../../../../shaders/shared/", $number, ".wgsl")),)+
            include_str!("../../../../shaders/matrix_pick.wgsl")
        )
    };
}

const F32: &str = source!("number_f32");
const BF16: &str = source!("weights_bf16", "number_halves");
const F16: &str = source!("weights_f16", "number_halves");

/// Every shader with its name.
pub(in crate::kernel) const SHADERS: crate::kernel::Named =
    &[("matrix_pick", F32), ("matrix_pick bf16", BF16), ("matrix_pick f16", F16)];

fn launch_pick(
    source: &'static str,
    out: CubeTensor,
    ids: CubeTensor,
    w: &CubeTensor,
    rows: usize,
    first: usize,
) -> CubeTensor {
    let (out, ids) = (launch::in_place(out), launch::contiguous(ids));
    let [count, cols] = out.meta.shape().dims();
    launch::launch(
        &out,
        source,
        64,
        launch::groups_for(count * cols, 64),
        &[&ids.handle, &w.handle, &out.handle],
        &launch::words(&[count, cols, rows, first]),
    );
    out
}

impl PickOps for CubeBackend {
    fn dense_pick_op(
        out: FloatTensor<Self>,
        ids: IntTensor<Self>,
        w: FloatTensor<Self>,
        first: usize,
    ) -> FloatTensor<Self> {
        let [rows, _] = w.meta.shape().dims();
        launch_pick(F32, out, ids, &launch::contiguous(w), rows, first)
    }

    fn packed_pick_op(
        out: FloatTensor<Self>,
        ids: IntTensor<Self>,
        words: IntTensor<Self>,
        layout: Layout,
        first: usize,
    ) -> FloatTensor<Self> {
        let source = match layout.packing {
            Packing::Bf16 => BF16,
            Packing::F16 => F16,
            Packing::Q8 | Packing::Q4 => unreachable!("only weights of linear layers are quantized"),
        };
        launch_pick(source, out, ids, &words, layout.rows, first)
    }
}

/// The rows of a block's `values` that `ids` name, into `out`.
fn picked(mut out: FlexTensor, ids: FlexTensor, values: &[f32], first: usize) -> FlexTensor {
    let [_, cols] = out.layout().shape().dims();
    let ids = flex::contiguous(ids);
    for (row, &id) in out.storage_mut::<f32>().chunks_exact_mut(cols).zip(flex::indices(&ids).iter()) {
        let place = (id as usize).checked_sub(first).map(|at| at * cols..(at + 1) * cols);
        if let Some(values) = place.and_then(|place| values.get(place)) {
            row.copy_from_slice(values);
        }
    }
    out
}

impl PickOps for Flex {
    fn dense_pick_op(
        out: FloatTensor<Self>,
        ids: IntTensor<Self>,
        w: FloatTensor<Self>,
        first: usize,
    ) -> FloatTensor<Self> {
        let w = flex::contiguous(w);
        picked(out, ids, flex::floats(&w), first)
    }

    fn packed_pick_op(
        out: FloatTensor<Self>,
        ids: IntTensor<Self>,
        words: IntTensor<Self>,
        layout: Layout,
        first: usize,
    ) -> FloatTensor<Self> {
        picked(out, ids, flex::floats(&cpu::unpacked(words, layout)), first)
    }
}
