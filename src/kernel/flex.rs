//! Small helpers for the plain-Rust implementations on Burn's CPU backend.

use std::borrow::Cow;

use burn::tensor::{DType, Shape, TensorData};
use burn_flex::FlexTensor;

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

/// A new f32 tensor.
pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.into()))
}
