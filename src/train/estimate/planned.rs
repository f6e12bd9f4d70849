//! How each tensor is trained, for what it costs.

use crate::{
    Result,
    config::MethodConfig,
    device::ComputeDevice,
    event::TrainedTensor,
    method::{MethodEntry, Setup, change::TensorChange, trainable::Place, training::describe},
    model::Transformer,
};

/// How a tensor is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// Some of its entries.
    Sparse,
    /// Two matrices of this rank beside it.
    LowRank(usize),
    /// All of it.
    Whole,
}

/// A tensor that a method would train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// Which one, and how many entries.
    pub tensor: TrainedTensor,
    /// How.
    pub means: Means,
}

impl Planned {
    /// Bytes of all of the tensor in f32.
    pub fn whole_bytes(&self) -> u64 {
        4 * self.tensor.shape.iter().product::<usize>() as u64
    }
}

/// What a method would train of a model.
///
/// # Errors
/// Settings, adapter and model that do not fit together.
pub(super) fn plan(
    entry: &MethodEntry,
    config: &MethodConfig,
    initial: Vec<TensorChange>,
    transformer: &Transformer,
) -> Result<Vec<Planned>> {
    let device = ComputeDevice::cpu();
    let mut setup = Setup { initial, sizes_only: true, ..Setup::new(config, &device, 0) };
    let (description, trained) = describe(entry, &mut setup, transformer)?;
    let planned = |tensor: TrainedTensor| {
        let hook = description.hooks.iter().find(|hook| hook.parameter == tensor.name);
        let of_model = description.tensors.iter().find(|known| known.name == tensor.name);
        let means = match (hook, of_model.map(|known| &known.place)) {
            (Some(hook), _) => match description.tensors[hook.reads[0]].place {
                Place::Own { dims, .. } => Means::LowRank(dims[0]),
                _ => Means::Whole,
            },
            (None, Some(Place::Entries(_))) => Means::Sparse,
            _ => Means::Whole,
        };
        Planned { tensor, means }
    };
    Ok(trained.concat().into_iter().map(planned).collect())
}
