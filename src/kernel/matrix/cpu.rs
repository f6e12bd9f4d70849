//! Products with frozen matrices on the CPU device: those of every linear layer there. Packed matrices are unpacked first;
//! models are kept in f32 on that device.

use burn::backend::{
    ops::FloatTensorOps,
    tensor::{FloatTensor, IntTensor},
};
use burn_flex::Flex;

use super::{Layout, MatrixOps, choice::Variant};
use crate::kernel::{flex, linear::LinearPasses};

/// All numbers `[rows, cols]`.
pub(super) fn unpacked(words: IntTensor<Flex>, layout: Layout) -> FloatTensor<Flex> {
    let words = flex::contiguous(words);
    let values = layout.packing.decode(&flex::indices(&words), layout.rows * layout.cols);
    flex::tensor(values, [layout.rows, layout.cols])
}

impl MatrixOps for Flex {
    fn dense_product_op(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        along: bool,
        _variant: Option<Variant>,
    ) -> FloatTensor<Self> {
        Self::linear_forward(x, w, None, !along)
    }

    fn dense_product_plus_op(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        along: bool,
        _variant: Option<Variant>,
    ) -> FloatTensor<Self> {
        Self::linear_forward(x, w, Some(bias), !along)
    }

    fn packed_product_op(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        layout: Layout,
        along: bool,
        variant: Option<Variant>,
    ) -> FloatTensor<Self> {
        Self::dense_product_op(x, unpacked(words, layout), along, variant)
    }

    fn packed_product_plus_op(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        bias: FloatTensor<Self>,
        layout: Layout,
        along: bool,
        variant: Option<Variant>,
    ) -> FloatTensor<Self> {
        Self::dense_product_plus_op(x, unpacked(words, layout), bias, along, variant)
    }

    fn packed_rows_op(ids: IntTensor<Self>, words: IntTensor<Self>, layout: Layout) -> FloatTensor<Self> {
        Self::float_select(unpacked(words, layout), 0, ids)
    }
}
