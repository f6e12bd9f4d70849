//! The fused optimizer step of one wholly trained tensor: clip and AdamW in place.

use burn::backend::{Backend, Dispatch, backend_extension, tensor::FloatTensor};
use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;
use burn_flex::Flex;
use rayon::prelude::*;

use super::{AdamW, flex, launch};

const SOURCE: &str =
    concat!(include_str!("../../shaders/shared/adamw.wgsl"), include_str!("../../shaders/dense_step.wgsl"));

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named = &[("dense_step", SOURCE)];

/// Backend dispatch of [`dense_step`].
#[backend_extension(Cube, Flex)]
pub trait DenseStepOps: Backend {
    /// See [`dense_step`].
    fn dense_step_op(
        weight: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        squared_norm: FloatTensor<Self>,
        settings: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// One AdamW step of a whole tensor: `weight` `[rows, cols]`, `moments` `[2, rows * cols]`, `grad` `[rows, cols]`,
/// `squared_norm` `[1]` (of all gradients). Weight and moments are written in place; on the CPU each must be the only
/// handle of its tensor, or it is copied first.
pub fn dense_step(
    weight: Tensor<2>,
    moments: Tensor<2>,
    grad: Tensor<2>,
    squared_norm: Tensor<1>,
    settings: AdamW,
) -> (Tensor<2>, Tensor<2>) {
    let (weight, moments) = Dispatch::dense_step_op(
        weight.into_dispatch(),
        moments.into_dispatch(),
        grad.into_dispatch(),
        squared_norm.into_dispatch(),
        settings,
    );
    (Tensor::from_dispatch(weight), Tensor::from_dispatch(moments))
}

/// The composed twin of [`dense_step`].
pub fn composed(
    weight: Tensor<2>,
    moments: Tensor<2>,
    grad: Tensor<2>,
    squared_norm: Tensor<1>,
    settings: AdamW,
) -> (Tensor<2>, Tensor<2>) {
    let [rows, cols] = weight.dims();
    let count = rows * cols;
    let first = moments.clone().slice([0..1, 0..count]).reshape([count]);
    let second = moments.slice([1..2, 0..count]).reshape([count]);
    let (weight, first, second) =
        settings.update_composed(weight.reshape([count]), first, second, grad.reshape([count]), squared_norm);
    (weight.reshape([rows, cols]), Tensor::stack(vec![first, second], 0))
}

impl DenseStepOps for CubeBackend {
    fn dense_step_op(
        weight: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        squared_norm: FloatTensor<Self>,
        settings: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (weight, moments, grad) = (launch::in_place(weight), launch::in_place(moments), launch::contiguous(grad));
        let count = weight.meta.shape().num_elements();
        let mut parameters = bytemuck::bytes_of(&settings).to_vec();
        parameters.extend(launch::words(&[count]));
        launch::launch(
            &weight,
            SOURCE,
            64,
            launch::groups_for(count, 64),
            &[&weight.handle, &moments.handle, &grad.handle, &squared_norm.handle],
            &parameters,
        );
        (weight, moments)
    }
}

impl DenseStepOps for Flex {
    fn dense_step_op(
        mut weight: FloatTensor<Self>,
        mut moments: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        squared_norm: FloatTensor<Self>,
        settings: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        const CHUNK: usize = 16 * 1024;
        let grad = flex::contiguous(grad);
        let grad = flex::floats(&grad);
        let clip = settings.clip_factor(flex::floats(&squared_norm)[0]);
        let (firsts, seconds) = moments.storage_mut::<f32>().split_at_mut(grad.len());
        weight
            .storage_mut::<f32>()
            .par_chunks_mut(CHUNK)
            .zip(firsts.par_chunks_mut(CHUNK))
            .zip(seconds.par_chunks_mut(CHUNK))
            .zip(grad.par_chunks(CHUNK))
            .for_each(|(((values, firsts), seconds), grads)| {
                for n in 0..values.len() {
                    (values[n], firsts[n], seconds[n]) =
                        settings.update(values[n], firsts[n], seconds[n], grads[n] * clip);
                }
            });
        (weight, moments)
    }
}
