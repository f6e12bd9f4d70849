//! Changing single entries of a frozen matrix in place: the step of a sparse method, and adapters merged and unmerged.
//!
//! In a matrix of 16-bit numbers a number becomes `base + delta` of its f32 masters, rounded to the nearest, ties to even,
//! anew at each step. Entries of quantized matrices are not written: their sparse delta is kept separately.

use burn::backend::{
    Backend, Dispatch, backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{Int, Tensor};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;

use super::{Layout, Matrix, Packed, Packing};
use crate::kernel::{
    AdamW, flex, launch,
    scatter_write::{self, scatter_write_from},
    sparse_step::{self, Stepped, sparse_step},
};

/// Backend dispatch of writes into packed matrices.
#[backend_extension(Cube, Flex)]
pub trait PackedWriteOps: Backend {
    /// See [`Matrix::write`].
    fn packed_write_op(
        words: IntTensor<Self>,
        layout: Layout,
        first: usize,
        indices: IntTensor<Self>,
        values: FloatTensor<Self>,
    ) -> IntTensor<Self>;

    /// See [`Matrix::step`].
    #[allow(clippy::too_many_arguments, reason = "one argument a buffer of the fused kernel")]
    fn packed_step_op(
        words: IntTensor<Self>,
        layout: Layout,
        indices: IntTensor<Self>,
        base: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        squared_norm: FloatTensor<Self>,
        settings: AdamW,
    ) -> (IntTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// What a sparse step reads besides the weight and what it changes.
#[derive(Debug)]
pub struct Step {
    /// Flat into the weight and unique `[N]`.
    pub indices: Tensor<1, Int>,
    /// Pretrained values `[N]`.
    pub base: Tensor<1>,
    /// `[N]`.
    pub grad: Tensor<1>,
    /// Squared global norm of all gradients `[1]`.
    pub squared_norm: Tensor<1>,
    /// Of AdamW.
    pub settings: AdamW,
}

impl Matrix {
    /// `self[indices[n]] = values[n]`, in place, each rounded to what is stored: `indices` `[N]` flat and unique, `values`
    /// `[N]`. On the CPU this must be the only handle, or it is copied first.
    ///
    /// # Panics
    /// In a quantized matrix.
    pub fn write(self, indices: Tensor<1, Int>, values: Tensor<1>) -> Self {
        match self {
            Self::Split(split) => Self::Split(split.write(indices, values)),
            whole => whole.write_from(0, indices, values),
        }
    }

    /// [`Self::write`] into one block of a matrix, which has the numbers from the flat index `first` on: what is in other
    /// blocks is not written.
    pub(super) fn write_from(self, first: usize, indices: Tensor<1, Int>, values: Tensor<1>) -> Self {
        match self {
            Self::Dense(weight) => Self::Dense(scatter_write_from(weight, first, indices, values)),
            Self::Packed(Packed { words, layout }) => {
                assert!(!layout.packing.quantized(), "numbers of quantized matrices are not written");
                let (words, indices) = (words.into_dispatch(), indices.into_dispatch());
                let words = Dispatch::packed_write_op(words, layout, first, indices, values.into_dispatch());
                Self::Packed(Packed { words: Tensor::from_dispatch(words), layout })
            }
            Self::Split(_) => unreachable!("blocks are not split"),
        }
    }

    /// One AdamW step of the `N` selected entries: `delta` `[N]` and `moments` `[2, N]` change in place, and the numbers
    /// become `base + delta`, except in a quantized matrix.
    pub fn step(self, delta: Tensor<1>, moments: Tensor<2>, step: Step) -> (Self, Tensor<1>, Tensor<2>) {
        let Step { indices, base, grad, squared_norm, settings } = step;
        match self {
            Self::Dense(weight) => {
                let state = Stepped { weight, delta, moments };
                let Stepped { weight, delta, moments } =
                    sparse_step(state, indices, base, grad, squared_norm, settings);
                (Self::Dense(weight), delta, moments)
            }
            Self::Packed(Packed { words, layout }) => {
                let (words, delta, moments) = Dispatch::packed_step_op(
                    words.into_dispatch(),
                    layout,
                    indices.into_dispatch(),
                    base.into_dispatch(),
                    delta.into_dispatch(),
                    moments.into_dispatch(),
                    grad.into_dispatch(),
                    squared_norm.into_dispatch(),
                    settings,
                );
                let packed = Packed { words: Tensor::from_dispatch(words), layout };
                (Self::Packed(packed), Tensor::from_dispatch(delta), Tensor::from_dispatch(moments))
            }
            Self::Split(split) => {
                let step = Step { indices, base, grad, squared_norm, settings };
                let (split, delta, moments) = split.step(delta, moments, step);
                (Self::Split(split), delta, moments)
            }
        }
    }
}

/// How many numbers may be written: none of a quantized matrix.
fn writable(layout: Layout) -> usize {
    if layout.packing.quantized() { 0 } else { layout.rows * layout.cols }
}

impl PackedWriteOps for CubeBackend {
    fn packed_write_op(
        words: IntTensor<Self>,
        layout: Layout,
        first: usize,
        indices: IntTensor<Self>,
        values: FloatTensor<Self>,
    ) -> IntTensor<Self> {
        let words = launch::in_place(words);
        let source =
            if layout.packing == Packing::F16 { scatter_write::SOURCE_F16 } else { scatter_write::SOURCE_BF16 };
        scatter_write::launch_write(source, &words, writable(layout), first, indices, values);
        words
    }

    fn packed_step_op(
        words: IntTensor<Self>,
        layout: Layout,
        indices: IntTensor<Self>,
        base: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        squared_norm: FloatTensor<Self>,
        settings: AdamW,
    ) -> (IntTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (words, delta, moments) = (launch::in_place(words), launch::in_place(delta), launch::in_place(moments));
        let source = if layout.packing == Packing::F16 { sparse_step::SOURCE_F16 } else { sparse_step::SOURCE_BF16 };
        let len = writable(layout);
        sparse_step::launch_step(source, &words, len, indices, base, &delta, &moments, grad, &squared_norm, settings);
        (words, delta, moments)
    }
}

/// Puts one number of 16 bits into words, if it may be written.
fn put(words: &mut [i32], layout: Layout, index: u32, value: f32) {
    if index as usize >= writable(layout) {
        return;
    }
    let word = &mut words[index as usize / 2];
    let shift = 16 * (index % 2);
    let bits = u32::from(layout.packing.half_bits(value)) << shift;
    *word = (*word as u32 & !(0xffff << shift) | bits) as i32;
}

impl PackedWriteOps for Flex {
    fn packed_write_op(
        mut words: IntTensor<Self>,
        layout: Layout,
        first: usize,
        indices: IntTensor<Self>,
        values: FloatTensor<Self>,
    ) -> IntTensor<Self> {
        let (indices, values) = (flex::contiguous(indices), flex::contiguous(values));
        let target = words.storage_mut::<i32>();
        for (&index, &value) in flex::indices(&indices).iter().zip(flex::floats(&values)) {
            put(target, layout, index.wrapping_sub(first as u32), value);
        }
        words
    }

    fn packed_step_op(
        mut words: IntTensor<Self>,
        layout: Layout,
        indices: IntTensor<Self>,
        base: FloatTensor<Self>,
        mut delta: FloatTensor<Self>,
        mut moments: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        squared_norm: FloatTensor<Self>,
        settings: AdamW,
    ) -> (IntTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let target = words.storage_mut::<i32>();
        let write = |index: u32, value: f32| put(target, layout, index, value);
        sparse_step::step_on_cpu(indices, base, &mut delta, &mut moments, grad, &squared_norm, settings, write);
        (words, delta, moments)
    }
}
