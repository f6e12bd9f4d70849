//! Dropout as one differentiable operation (Srivastava et al. 2014), inverted: what is kept is scaled up.
//!
//! Whether a number is kept is a hash of the seed and its position. No mask is stored, the backward pass draws the same
//! one, and every device drops the same numbers.

use burn::backend::{
    Autodiff, Backend, Dispatch,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    tensor::FloatTensor,
};
use burn::tensor::{Tensor, TensorData};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;
use rayon::prelude::*;

use super::{flex, launch, vector::wide};

const SOURCE: &str = include_str!("../../shaders/dropout.wgsl");

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named = &[("dropout", SOURCE)];

/// Numbers that one task of the CPU takes.
const CHUNK: usize = 16 * 1024;

/// Backend dispatch of [`dropout`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait DropoutOps: Backend {
    /// See [`dropout`].
    fn dropout_op(x: FloatTensor<Self>, probability: f32, seed: u64) -> FloatTensor<Self>;
}

/// `x` `[N, D]` with each number set to 0 with `probability` (from 0 to below 1) and otherwise divided by
/// `1 - probability`. The same seed drops the same positions on every device; give every place and step one of its own.
pub fn dropout(x: Tensor<2>, probability: f32, seed: u64) -> Tensor<2> {
    assert!((0.0..1.0).contains(&probability), "a dropout probability is at least 0 and below 1, not {probability}");
    if probability == 0.0 {
        return x;
    }
    Tensor::from_dispatch(Dispatch::dropout_op(x.into_dispatch(), probability, seed))
}

/// The composed twin of [`dropout`].
pub fn composed(x: Tensor<2>, probability: f32, seed: u64) -> Tensor<2> {
    let [rows, cols] = x.dims();
    let least = least_kept(probability);
    let kept = (0..(rows * cols) as u32).map(|position| f32::from(hash(seed, position) >= least));
    let kept = Tensor::from_data(TensorData::new(kept.collect::<Vec<f32>>(), [rows, cols]), &x.device());
    x * kept / (1.0 - probability)
}

/// The smallest hash of a number that is kept: the share of hashes below it is `probability`.
fn least_kept(probability: f32) -> u32 {
    (f64::from(probability) * f64::from(u32::MAX)).round() as u32
}

/// The hash pcg3d, first component (Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020).
#[inline(always)]
fn hash(seed: u64, position: u32) -> u32 {
    let [mut x, mut y, mut z] =
        [seed as u32, (seed >> 32) as u32, position].map(|v| v.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    x = x.wrapping_add(y.wrapping_mul(z));
    y = y.wrapping_add(z.wrapping_mul(x));
    z = z.wrapping_add(x.wrapping_mul(y));
    let [x, y, z] = [x, y, z].map(|v| v ^ (v >> 16));
    x.wrapping_add(y.wrapping_mul(z))
}

impl DropoutOps for CubeBackend {
    fn dropout_op(x: FloatTensor<Self>, probability: f32, seed: u64) -> FloatTensor<Self> {
        let x = launch::contiguous(x);
        let shape = x.meta.shape().clone();
        let count = shape.num_elements();
        let y = launch::empty(&x, shape);
        let mut dims = launch::words(&[count]);
        dims.extend(seed.to_le_bytes());
        dims.extend(least_kept(probability).to_le_bytes());
        dims.extend((1.0 - probability).recip().to_le_bytes());
        launch::launch(&x, SOURCE, 64, launch::groups_for(count, 64), &[&x.handle, &y.handle], &dims);
        y
    }
}

/// Dropout of the numbers from position `start` on. All by value, which keeps loads out of the loop.
#[inline(always)]
fn drop_some(x: &mut [f32], seed: u64, start: u32, least: u32, factor: f32) {
    for (at, x) in x.iter_mut().enumerate() {
        let scaled = *x * factor;
        *x = if hash(seed, start.wrapping_add(at as u32)) >= least { scaled } else { 0.0 };
    }
}

impl DropoutOps for Flex {
    fn dropout_op(x: FloatTensor<Self>, probability: f32, seed: u64) -> FloatTensor<Self> {
        let mut x = flex::contiguous(x);
        let (least, factor) = (least_kept(probability), (1.0 - probability).recip());
        x.storage_mut::<f32>().par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, x)| {
            wide!(drop_some(x, seed, (chunk * CHUNK) as u32, least, factor));
        });
        x
    }
}

impl<B: DropoutOps, C: CheckpointStrategy> DropoutOps for Autodiff<B, C> {
    fn dropout_op(x: FloatTensor<Self>, probability: f32, seed: u64) -> FloatTensor<Self> {
        match Dropout.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                prep.finish((probability, seed), B::dropout_op(x.into_primitive(), probability, seed))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::dropout_op(x.into_primitive(), probability, seed)),
        }
    }
}

#[derive(Debug)]
struct Dropout;

impl<B: DropoutOps> Backward<B, 1> for Dropout {
    /// Probability and seed.
    type State = (f32, u64);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [parent] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let (probability, seed) = ops.state;
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::dropout_op(dy, probability, seed));
        }
    }
}
