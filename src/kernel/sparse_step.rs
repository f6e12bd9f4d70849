//! The fused optimizer step of one sparse tensor: clip, AdamW on the delta, `weight[index] = base + delta` in place.

use burn::backend::{
    Backend, Dispatch, backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{IndexingUpdateOp, Int, Tensor};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use burn_flex::{Flex, FlexTensor};

use super::{AdamW, flex, launch};

macro_rules! source {
    ($($write:literal),+) => {
        concat!(
            include_str!("../../shaders/shared/adamw.wgsl"),
            $(include_str!(concat!("../../shaders/shared/", $write, ".wgsl")),)+
            include_str!("../../shaders/sparse_step.wgsl")
        )
    };
}

pub(super) const SOURCE: &str = source!("write_f32");
pub(super) const SOURCE_BF16: &str = source!("round_bf16", "write_halves");
pub(super) const SOURCE_F16: &str = source!("round_f16", "write_halves");

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named =
    &[("sparse_step", SOURCE), ("sparse_step bf16", SOURCE_BF16), ("sparse_step f16", SOURCE_F16)];

/// Backend dispatch of [`sparse_step`].
#[backend_extension(Cube, Flex)]
pub trait SparseStepOps: Backend {
    /// See [`sparse_step`].
    #[allow(clippy::too_many_arguments, reason = "one argument a buffer of the fused kernel")]
    fn sparse_step_op(
        weight: FloatTensor<Self>,
        indices: IntTensor<Self>,
        base: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        squared_norm: FloatTensor<Self>,
        settings: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// What a step changes.
#[derive(Debug)]
pub struct Stepped {
    /// The weight `[outputs, inputs]`, equal to `base + delta` at the mask's indices.
    pub weight: Tensor<2>,
    /// The trainable parameters `[N]`.
    pub delta: Tensor<1>,
    /// AdamW's first and second moments `[2, N]`.
    pub moments: Tensor<2>,
}

/// One AdamW step of the `N` selected entries of `state.weight`.
///
/// `indices` `[N]` are flat into the weight and unique; `base` `[N]` are the pretrained values; `grad` `[N]`;
/// `squared_norm` `[1]` is the squared global norm of all gradients. The buffers of `state` are written in place: on
/// the CPU each must be the only handle of its tensor, or it is copied first.
pub fn sparse_step(
    state: Stepped,
    indices: Tensor<1, Int>,
    base: Tensor<1>,
    grad: Tensor<1>,
    squared_norm: Tensor<1>,
    settings: AdamW,
) -> Stepped {
    let (weight, delta, moments) = Dispatch::sparse_step_op(
        state.weight.into_dispatch(),
        indices.into_dispatch(),
        base.into_dispatch(),
        state.delta.into_dispatch(),
        state.moments.into_dispatch(),
        grad.into_dispatch(),
        squared_norm.into_dispatch(),
        settings,
    );
    Stepped {
        weight: Tensor::from_dispatch(weight),
        delta: Tensor::from_dispatch(delta),
        moments: Tensor::from_dispatch(moments),
    }
}

/// The composed twin of [`sparse_step`].
pub fn composed(
    state: Stepped,
    indices: Tensor<1, Int>,
    base: Tensor<1>,
    grad: Tensor<1>,
    squared_norm: Tensor<1>,
    settings: AdamW,
) -> Stepped {
    let [rows, cols] = state.weight.dims();
    let [count] = indices.dims();
    let first = state.moments.clone().slice([0..1, 0..count]).reshape([count]);
    let second = state.moments.slice([1..2, 0..count]).reshape([count]);
    let (delta, first, second) = settings.update_composed(state.delta, first, second, grad, squared_norm);
    let flat = state.weight.reshape([rows * cols]);
    let change = base + delta.clone() - flat.clone().select(0, indices.clone());
    let weight = flat.select_assign(0, indices, change, IndexingUpdateOp::Add).reshape([rows, cols]);
    Stepped { weight, delta, moments: Tensor::stack(vec![first, second], 0) }
}

/// Launches the step of a weight of `weight_len` numbers; what is beyond is not written.
#[allow(clippy::too_many_arguments, reason = "one argument a buffer of the fused kernel")]
pub(super) fn launch_step(
    source: &'static str,
    weight: &CubeTensor,
    weight_len: usize,
    indices: CubeTensor,
    base: CubeTensor,
    delta: &CubeTensor,
    moments: &CubeTensor,
    grad: CubeTensor,
    squared_norm: &CubeTensor,
    settings: AdamW,
) {
    let (indices, base, grad) = (launch::contiguous(indices), launch::contiguous(base), launch::contiguous(grad));
    let [count] = indices.meta.shape().dims();
    let mut parameters = bytemuck::bytes_of(&settings).to_vec();
    parameters.extend(launch::words(&[count, weight_len]));
    launch::launch(
        weight,
        source,
        64,
        launch::groups_for(count, 64),
        &[
            &weight.handle,
            &indices.handle,
            &base.handle,
            &delta.handle,
            &moments.handle,
            &grad.handle,
            &squared_norm.handle,
        ],
        &parameters,
    );
}

impl SparseStepOps for CubeBackend {
    fn sparse_step_op(
        weight: FloatTensor<Self>,
        indices: IntTensor<Self>,
        base: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        squared_norm: FloatTensor<Self>,
        settings: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (weight, delta, moments) = (launch::in_place(weight), launch::in_place(delta), launch::in_place(moments));
        let len = weight.meta.shape().num_elements();
        launch_step(SOURCE, &weight, len, indices, base, &delta, &moments, grad, &squared_norm, settings);
        (weight, delta, moments)
    }
}

/// Takes the step on the CPU: changes deltas and moments, and hands each index with its new number to `write`.
#[allow(clippy::too_many_arguments, reason = "one argument a buffer of the fused kernel")]
pub(super) fn step_on_cpu(
    indices: FlexTensor,
    base: FlexTensor,
    delta: &mut FlexTensor,
    moments: &mut FlexTensor,
    grad: FlexTensor,
    squared_norm: &FlexTensor,
    settings: AdamW,
    mut write: impl FnMut(u32, f32),
) {
    let (indices, base, grad) = (flex::contiguous(indices), flex::contiguous(base), flex::contiguous(grad));
    let (indices, base, grad) = (flex::indices(&indices), flex::floats(&base), flex::floats(&grad));
    let clip = settings.clip_factor(flex::floats(squared_norm)[0]);
    let deltas = delta.storage_mut::<f32>();
    let (firsts, seconds) = moments.storage_mut::<f32>().split_at_mut(indices.len());
    for (n, &index) in indices.iter().enumerate() {
        let (value, first, second) = settings.update(deltas[n], firsts[n], seconds[n], grad[n] * clip);
        (deltas[n], firsts[n], seconds[n]) = (value, first, second);
        write(index, base[n] + value);
    }
}

impl SparseStepOps for Flex {
    fn sparse_step_op(
        mut weight: FloatTensor<Self>,
        indices: IntTensor<Self>,
        base: FloatTensor<Self>,
        mut delta: FloatTensor<Self>,
        mut moments: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        squared_norm: FloatTensor<Self>,
        settings: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let values = weight.storage_mut::<f32>();
        let write = |index: u32, value: f32| {
            // Of a weight that is split by rows this is the first block.
            if let Some(number) = values.get_mut(index as usize) {
                *number = value;
            }
        };
        step_on_cpu(indices, base, &mut delta, &mut moments, grad, &squared_norm, settings, write);
        (weight, delta, moments)
    }
}
