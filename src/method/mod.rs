//! What is trained: one file a method, one line in [`METHODS`].
//!
//! A method decides which tensors it touches, hooks an [`Adaptation`](crate::model::Adaptation) into each for the
//! forward and backward pass, takes the optimizer step, and says what is saved. The model does not know the methods.

pub mod adapter;
pub mod delta;
pub mod formats;
pub mod mask;
pub mod stack;
pub mod targets;

mod full;
mod sparta;

use burn::tensor::{Gradients, Tensor};
use safetensors::Dtype;
use serde_json::Value;

use crate::{
    Error, Result,
    config::MethodConfig,
    device::ComputeDevice,
    kernel::AdamW,
    model::{Transformer, weights::Weights},
};

pub use crate::event::TrainedTensor;
pub use sparta::Sparta;

/// A vector of numbers on the device with a name, to be saved.
pub type NamedTensor = (String, Tensor<1>);

/// What a method puts into an adapter folder.
#[derive(Debug)]
pub struct Saved {
    /// Settings from which the adapter can be applied again (JSON).
    pub settings: Value,
    /// Trained values, cast to the adapter's storage type.
    pub values: Vec<NamedTensor>,
    /// Mask indices to store explicitly, if asked for.
    pub indices: Vec<(String, Vec<u32>)>,
}

/// A way of training a model. All tensors live on the thread that made them.
pub trait Method {
    /// Every trained tensor and how much of it is trained.
    fn trained(&self) -> Vec<TrainedTensor>;

    /// Number of trained numbers in all tensors.
    fn trained_parameters(&self) -> usize {
        self.trained().iter().map(|tensor| tensor.trained).sum()
    }

    /// Hooks fresh tracked leaves into the model, before a forward pass that is to be differentiated.
    fn attach(&mut self, transformer: &mut Transformer);

    /// Takes the gradients of the leaves out of one backward pass and adds them to those collected so far.
    fn collect(&mut self, gradients: &mut Gradients);

    /// Takes the leaves out again; the model then computes with the current weights, untracked.
    fn detach(&mut self, transformer: &mut Transformer);

    /// One optimizer step with the collected gradients, which are then gone. Returns the squared global norm `[1]` of
    /// the gradient before clipping.
    ///
    /// # Errors
    /// No gradient was collected.
    fn step(&mut self, transformer: &mut Transformer, settings: &AdamW) -> Result<Tensor<1>>;

    /// Everything a resumed run needs: trained values and moments.
    fn state(&self, transformer: &Transformer) -> Vec<NamedTensor>;

    /// Puts a state back.
    ///
    /// # Errors
    /// A tensor that is missing or has another length.
    fn restore(&mut self, transformer: &mut Transformer, state: &Weights) -> Result<()>;

    /// What goes into the adapter folder.
    fn save(&self, transformer: &Transformer) -> Saved;
}

/// Starts a method on a model.
type Start = fn(&MethodConfig, &mut Transformer, &ComputeDevice, seed: u64) -> Result<Box<dyn Method>>;
/// What a saved adapter does to each tensor of its model.
type Deltas = fn(&adapter::Adapter) -> Result<Vec<delta::TensorDelta>>;

/// One training method.
pub struct Entry {
    /// Name for `--method`.
    pub name: &'static str,
    /// One line for `--help` and the window.
    pub about: &'static str,
    /// Learning rate where none is given, found by the sweep recorded in the README.
    pub learning_rate: f64,
    /// Starts it on a model.
    pub start: Start,
    /// Reads its adapter.
    pub deltas: Deltas,
}

/// Every training method.
pub const METHODS: &[Entry] = &[sparta::ENTRY, full::ENTRY];

/// The method of this name.
///
/// # Errors
/// No such method; the message lists those there are.
pub fn find(name: &str) -> Result<&'static Entry> {
    METHODS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<_> = METHODS.iter().map(|entry| entry.name).collect();
        Error::input(format!("there is no method \"{name}\"; there are {}", names.join(" and ")))
    })
}

/// A stored vector of exactly `len` f32 values, for [`Method::restore`].
fn stored(state: &Weights, name: &str, len: usize) -> Result<Vec<f32>> {
    let values = state.floats(name)?;
    if values.len() != len {
        return Err(Error::input(format!(
            "the checkpoint's {name} has {} values but this run needs {len}; it belongs to another run",
            values.len()
        )));
    }
    Ok(values)
}

/// Adds a gradient, if there is one, to those collected so far.
fn accumulate<const D: usize>(sum: &mut Option<Tensor<D>>, new: Option<Tensor<D>>) {
    *sum = match (sum.take(), new) {
        (Some(sum), Some(new)) => Some(sum + new),
        (sum, new) => sum.or(new),
    };
}

/// Sum of squared norms, each `[1]`, as `[1]`.
fn total(norms: Vec<Tensor<1>>) -> Tensor<1> {
    Tensor::cat(norms, 0).sum()
}

/// Short name of a storage type, as adapters write it.
pub fn dtype_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F16 => "f16",
        Dtype::BF16 => "bf16",
        _ => "f32",
    }
}
