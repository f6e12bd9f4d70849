//! How a method computes with a parameter of the model, and the pass that it does so in.

use std::{any::Any, fmt::Debug, sync::Arc};

use burn::tensor::{Int, Tensor};
use serde_json::Value;

use crate::{kernel::Matrix, model::LinearCall, rng::Stream};

/// A parameter of the model that a method computes with in its own way.
#[derive(Clone, Debug)]
pub struct HookedParameter {
    /// Name of the parameter.
    pub parameter: String,
    /// How it computes.
    pub hook: Arc<dyn Hook>,
    /// Places in [`Description::tensors`](super::Description::tensors) of the matrices that the hook reads, in the hook's order. Hooks may share tensors.
    pub reads: Vec<usize>,
}

/// How a method computes with one parameter. Holds settings only: the tensors are handed to it.
pub trait Hook: Any + Debug + Send + Sync {
    /// The linear layer of a weight, with bias and residual added. `leaves` are the matrices that it reads, tracked where the
    /// pass is differentiated.
    fn linear(&self, layer: LinearCall<'_>, leaves: &[Tensor<2>], pass: Pass) -> Tensor<2>;

    /// Rows `ids` `[T]` of an embedding table, as `[T, width]`.
    fn embed(&self, ids: Tensor<1, Int>, weight: &Matrix, _leaves: &[Tensor<2>], _pass: Pass) -> Tensor<2> {
        weight.rows(ids)
    }

    /// The value `[1, width]` of a small tensor (a norm's scale, a bias).
    fn small(&self, weight: &Matrix, _leaves: &[Tensor<2>], _pass: Pass) -> Tensor<2> {
        weight.dense()
    }
}

/// A matrix of a tensor in an adapter: its name behind that of the tensor, its dimensions, its values in row-major order.
pub type Leaf = (&'static str, [usize; 2], Vec<f32>);

/// A hook that adapters hold as it is, because its layers amount to no sparse, low-rank or whole change.
pub trait LayerChange: Hook {
    /// Whether the matrices of an adapter are those that it reads for a weight `[outputs, inputs]`.
    fn fits(&self, dims: [usize; 2], leaves: &[Leaf]) -> bool;

    /// What an adapter folder records of it, beside the tensors that it belongs to: settings of the method (a JSON object).
    fn settings(&self) -> Value;

    /// Itself, where the layer amounts to a weight in evaluation; else it cannot be merged.
    fn as_weight(&self) -> Option<&dyn ComputedWeight> {
        None
    }
}

/// A hook whose layer amounts to a weight in evaluation.
pub trait ComputedWeight {
    /// That weight `[outputs, inputs]`, from the pretrained one and the matrices that an adapter holds.
    fn merged(&self, weight: Tensor<2>, leaves: &[Tensor<2>]) -> Tensor<2>;
}

/// The forward pass that a hook computes in: whatever is random in it comes from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Nothing is random.
    Evaluation,
    /// A pass of training.
    Training {
        /// The run's seed.
        seed: u64,
        /// Number of the batch in the run.
        batch: u64,
        /// Which of the batch's passes.
        index: usize,
    },
}

impl Pass {
    /// Random numbers of this pass for `purpose`; `None` in evaluation. Hooks that draw for the same purpose draw the same.
    pub fn stream(&self, purpose: &str) -> Option<Stream> {
        match *self {
            Self::Evaluation => None,
            Self::Training { seed, batch, index: 0 } => Some(Stream::new(seed, &format!("{purpose}/{batch}"))),
            Self::Training { seed, batch, index } => Some(Stream::new(seed, &format!("{purpose}/{batch}/{index}"))),
        }
    }
}
