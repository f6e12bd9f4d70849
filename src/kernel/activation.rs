//! The activation functions of feed-forward layers, and `y = f(x)` as one differentiable operation.

use burn::backend::{
    Autodiff, Backend, Dispatch,
    autodiff::{
        NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    tensor::FloatTensor,
};
use burn::tensor::{Tensor, activation::silu};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;
use rayon::prelude::*;

use super::{
    flex, launch,
    vector::{erf, exp, sigmoid, wide},
};

const FORWARD: &str =
    concat!(include_str!("../../shaders/shared/activation.wgsl"), include_str!("../../shaders/activate.wgsl"));
const BACKWARD: &str =
    concat!(include_str!("../../shaders/shared/activation.wgsl"), include_str!("../../shaders/activate_backward.wgsl"));

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named = &[("activate", FORWARD), ("activate_backward", BACKWARD)];

/// Numbers that one task of the CPU takes.
pub(super) const CHUNK: usize = 16 * 1024;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))` (Hendrycks and Gimpel 2016).
    GeluTanh,
    /// `x / 2 * (1 + erf(x / sqrt(2)))` (Hendrycks and Gimpel 2016).
    Gelu,
}

impl Activation {
    /// The composed twin of [`activate`].
    pub fn composed<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        let half_of = |x: Tensor<D>, curve: Tensor<D>| x * (curve + 1.0) * 0.5;
        match self {
            Self::Silu => silu(x),
            Self::GeluTanh => {
                let cube = x.clone() * x.clone() * x.clone();
                let inner = (x.clone() + cube * 0.044715) * std::f64::consts::FRAC_2_PI.sqrt();
                half_of(x, inner.tanh())
            }
            Self::Gelu => half_of(x.clone(), (x * std::f64::consts::FRAC_1_SQRT_2).erf()),
        }
    }

    /// The number that stands for it in a shader.
    pub(super) fn kind(self) -> usize {
        match self {
            Self::Silu => 0,
            Self::GeluTanh => 1,
            Self::Gelu => 2,
        }
    }
}

/// An activation function as a type, so that a loop over numbers is compiled for each and free of branches.
pub(super) trait Curve {
    /// `f(x)` and `f'(x)`.
    fn at(x: f32) -> (f32, f32);
}

/// [`Activation::Silu`].
pub(super) struct Silu;
/// [`Activation::GeluTanh`].
pub(super) struct GeluTanh;
/// [`Activation::Gelu`].
pub(super) struct Gelu;

impl Curve for Silu {
    #[inline(always)]
    fn at(x: f32) -> (f32, f32) {
        let s = sigmoid(x);
        (x * s, s + x * s * (1.0 - s))
    }
}

impl Curve for GeluTanh {
    /// With `(1 + tanh(u)) / 2 = sigmoid(2u)`.
    #[inline(always)]
    fn at(x: f32) -> (f32, f32) {
        const LINEAR: f32 = 1.595_769; // 2 sqrt(2 / pi)
        const CUBIC: f32 = 0.044_715 * LINEAR;
        let s = sigmoid(x * (LINEAR + CUBIC * x * x));
        (x * s, s + x * s * (1.0 - s) * (LINEAR + 3.0 * CUBIC * x * x))
    }
}

impl Curve for Gelu {
    #[inline(always)]
    fn at(x: f32) -> (f32, f32) {
        const INVERSE_SQRT_TAU: f32 = 0.398_942_3;
        let gauss = exp(-0.5 * x * x);
        let below = 0.5 + 0.5 * erf(x * std::f32::consts::FRAC_1_SQRT_2, gauss);
        (x * below, below + x * gauss * INVERSE_SQRT_TAU)
    }
}

/// The instance of a function generic over [`Curve`] that an [`Activation`] asks for.
macro_rules! for_curve {
    ($activation:expr, $function:ident) => {
        match $activation {
            $crate::kernel::Activation::Silu => $function::<$crate::kernel::activation::Silu>,
            $crate::kernel::Activation::GeluTanh => $function::<$crate::kernel::activation::GeluTanh>,
            $crate::kernel::Activation::Gelu => $function::<$crate::kernel::activation::Gelu>,
        }
    };
}
pub(super) use for_curve;

/// Backend dispatch of [`activate`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait ActivateOps: Backend {
    /// See [`activate`].
    fn activate_op(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
}

/// The backward pass of [`ActivateOps`], on backends that compute.
pub trait ActivateBackwardOps: Backend {
    /// Gradient of `x`, given that of the output; all of one shape.
    fn activate_backward(x: FloatTensor<Self>, dy: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
}

/// The activation function of each number of `x` `[N, F]`.
pub fn activate(x: Tensor<2>, activation: Activation) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::activate_op(x.into_dispatch(), activation))
}

impl ActivateOps for CubeBackend {
    fn activate_op(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let x = launch::contiguous(x);
        let shape = x.meta.shape().clone();
        let count = shape.num_elements();
        let y = launch::empty(&x, shape);
        let dims = launch::words(&[count, activation.kind()]);
        launch::launch(&x, FORWARD, 64, launch::groups_for(count, 64), &[&x.handle, &y.handle], &dims);
        y
    }
}

impl ActivateBackwardOps for CubeBackend {
    fn activate_backward(x: FloatTensor<Self>, dy: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let (x, dy) = (launch::contiguous(x), launch::contiguous(dy));
        let shape = x.meta.shape().clone();
        let count = shape.num_elements();
        let dx = launch::empty(&x, shape);
        let dims = launch::words(&[count, activation.kind()]);
        let buffers = [&x.handle, &dy.handle, &dx.handle];
        launch::launch(&x, BACKWARD, 64, launch::groups_for(count, 64), &buffers, &dims);
        dx
    }
}

/// Overwrites `x` with `f(x)`.
fn forward<C: Curve>(x: &mut [f32]) {
    wide!(x.iter_mut().for_each(|x| *x = C::at(*x).0));
}

/// Overwrites `dy` with the gradient of `x`.
fn backward<C: Curve>(x: &[f32], dy: &mut [f32]) {
    wide!(dy.iter_mut().zip(x).for_each(|(dy, x)| *dy *= C::at(*x).1));
}

impl ActivateOps for Flex {
    fn activate_op(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let forward = for_curve!(activation, forward);
        flex::changed(flex::contiguous(x), CHUNK, |_, x| forward(x))
    }
}

impl ActivateBackwardOps for Flex {
    fn activate_backward(x: FloatTensor<Self>, dy: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let (x, mut dy) = (flex::contiguous(x), flex::contiguous(dy));
        let backward = for_curve!(activation, backward);
        let chunks = flex::floats(&x).par_chunks(CHUNK);
        dy.storage_mut::<f32>().par_chunks_mut(CHUNK).zip(chunks).for_each(|(dy, x)| backward(x, dy));
        dy
    }
}

impl<B, C> ActivateOps for Autodiff<B, C>
where
    B: ActivateOps + ActivateBackwardOps,
    C: CheckpointStrategy,
{
    fn activate_op(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        match Activate.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = ActivateState { x: prep.checkpoint(&x), activation };
                prep.finish(state, B::activate_op(x.into_primitive(), activation))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::activate_op(x.into_primitive(), activation)),
        }
    }
}

#[derive(Debug)]
struct Activate;

#[derive(Clone, Debug)]
struct ActivateState {
    x: NodeId,
    activation: Activation,
}

impl<B: ActivateBackwardOps> Backward<B, 1> for Activate {
    type State = ActivateState;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [parent] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let x = checkpointer.retrieve_node_output(ops.state.x);
        if let Some(node) = parent {
            grads.register::<B>(node.id, B::activate_backward(x, dy, ops.state.activation));
        }
    }
}
