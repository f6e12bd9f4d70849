//! Small helpers for the plain-Rust implementations on Burn's CPU backend.

use std::borrow::Cow;

use burn::tensor::{DType, Shape, TensorData};
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// Row-major f32 view; copies only when the tensor is a strided view.
pub(super) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() && tensor.layout().start_offset() == 0 { tensor } else { tensor.to_contiguous() }
}

/// The elements of a contiguous f32 tensor.
pub(super) fn floats(tensor: &FlexTensor) -> &[f32] {
    &tensor.storage::<f32>()[..tensor.layout().num_elements()]
}

/// The elements of a contiguous integer tensor as unsigned indices. Negative numbers come out as huge ones, which
/// the range checks of the callers refuse.
pub(super) fn indices(tensor: &FlexTensor) -> Cow<'_, [u32]> {
    let len = tensor.layout().num_elements();
    match tensor.dtype() {
        DType::I32 => Cow::Borrowed(bytemuck::cast_slice(&tensor.storage::<i32>()[..len])),
        DType::U32 => Cow::Borrowed(&tensor.storage::<u32>()[..len]),
        DType::I64 => {
            Cow::Owned(tensor.storage::<i64>()[..len].iter().map(|&i| u32::try_from(i).unwrap_or(u32::MAX)).collect())
        }
        other => unreachable!("indices are 32- or 64-bit integers, not {other:?}"),
    }
}

/// Rows of `width` numbers that are worth a task of their own.
pub(super) fn rows_of(width: usize) -> usize {
    (16 * 1024 / width.max(1)).max(1)
}

/// Changes a contiguous f32 tensor chunk by chunk, on all threads: in place if nothing else holds it, else in a copy that is
/// made on the way, while each chunk is in the cache.
pub(super) fn changed(
    mut values: FlexTensor,
    chunk: usize,
    change: impl Fn(usize, &mut [f32]) + Sync + Send,
) -> FlexTensor {
    if values.is_unique() {
        let len = values.layout().num_elements();
        values.storage_mut::<f32>()[..len]
            .par_chunks_mut(chunk)
            .enumerate()
            .for_each(|(at, values)| change(at, values));
        return values;
    }
    let from = floats(&values);
    let mut to = Vec::with_capacity(from.len());
    let chunks = to.spare_capacity_mut()[..from.len()].par_chunks_mut(chunk).zip(from.par_chunks(chunk));
    chunks.enumerate().for_each(|(at, (to, from))| change(at, to.write_copy_of_slice(from)));
    // SAFETY: the chunks cover the whole vector, and each was copied into.
    unsafe { to.set_len(from.len()) };
    tensor(to, values.layout().shape().clone())
}

/// A new f32 tensor.
pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.into()))
}
