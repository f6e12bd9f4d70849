//! What is trained: one file a method, one line in [`METHODS`].
//!
//! A method [describes](description) its tensors, how the model computes with them, and what they amount to in the end. The
//! rest is the same for all: [`training`] keeps leaves, gradients and moments, takes the steps, and stores and resumes.

pub mod adapter;
pub mod change;
pub mod description;
pub mod entry;
pub mod formats;
pub mod hook;
pub mod mask;
pub mod save;
pub mod settings;
pub mod stack;
pub mod switch;
pub mod targets;
pub mod tensors;
pub mod trainable;
pub mod training;

mod dora;
mod full;
mod head;
mod lora;
mod low_rank;
mod plan;
mod sparta;
mod whole;

use crate::{Error, Result, config::MethodConfig, model::Transformer};
use change::TensorChange;

pub use crate::event::TrainedTensor;
pub use description::{Calibrate, Description, Method, Pending, Setup};
pub use entry::{Budget, MethodEntry};
pub use training::{Training, start};
pub use whole::dense_gradients;

/// Every training method.
pub const METHODS: &[MethodEntry] = &[sparta::METHOD, lora::METHOD, dora::METHOD, full::METHOD, head::METHOD];

/// The method of this name.
///
/// # Errors
/// No such method; the message lists those there are.
pub fn find(name: &str) -> Result<&'static MethodEntry> {
    METHODS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<_> = METHODS.iter().map(|entry| entry.name).collect();
        Error::input(format!("there is no method \"{name}\"; there are {}", names.join(", ")))
    })
}

/// What a method would train of a model, with the head of a classifier, from shapes alone: `transformer` may be an
/// [outline](Transformer::outline). `initial` are the changes of the adapter to start from.
///
/// # Errors
/// Settings, adapter and model that do not fit together.
pub fn trained(
    entry: &MethodEntry,
    config: &MethodConfig,
    initial: Vec<TensorChange>,
    transformer: &Transformer,
) -> Result<Vec<TrainedTensor>> {
    let device = crate::device::ComputeDevice::cpu();
    let mut setup = Setup { initial, sizes_only: true, ..Setup::new(config, &device, 0) };
    training::describe(entry, &mut setup, transformer).map(|(_, trained)| trained.concat())
}
