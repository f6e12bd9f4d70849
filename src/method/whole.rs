//! Tensors as a whole: what a device can bind of them, their gradients, and adapters that replace them.

use burn::tensor::{Gradients, Tensor};

use super::{
    adapter::Adapter,
    change::{Change, TensorChange},
    tensors::TrackedWhole,
};
use crate::{
    Error, Result,
    device::{self, ComputeDevice},
    event::TrainedTensor,
    model::Transformer,
};

/// Refuses tensors of which the device cannot bind all in f32; says what they are wanted for, and what else can be done.
pub(super) fn bindable<'a>(
    names: impl Iterator<Item = &'a str>,
    transformer: &Transformer,
    device: &ComputeDevice,
    [purpose, otherwise]: [&str; 2],
) -> Result<()> {
    let limit = device.facts.max_binding_bytes.unwrap_or(u64::MAX);
    let parameters = transformer.parameters();
    for name in names {
        let bytes = parameters.iter().find(|known| known.name == name).map_or(0, |known| 4 * known.len() as u64);
        if bytes > limit {
            return Err(Error::Device(format!(
                "{name}: {purpose} it needs {} MB, but {} can bind only {} MB at once; leave it out with --frozen-modules, \
                 {otherwise}use --device cpu or another device",
                bytes / 1_000_000,
                device.facts.name,
                limit / 1_000_000
            )));
        }
    }
    Ok(())
}

/// What the adapter of tensors that were trained as a whole changes: its values replace the model's.
pub(super) fn changes(adapter: &Adapter) -> Result<Vec<TensorChange>> {
    #[derive(serde::Deserialize)]
    struct Settings {
        tensors: Vec<TrainedTensor>,
    }
    let settings: Settings = adapter.settings()?;
    let read = |tensor: TrainedTensor| {
        let values = adapter.weights.floats(&tensor.name).map_err(|e| adapter.error(e))?;
        Ok(TensorChange { name: tensor.name, shape: tensor.shape, change: Change::Replace(values) })
    };
    settings.tensors.into_iter().map(read).collect()
}

/// Dense gradients of named parameters, each in the layout of the checkpoint, by one backward pass. The weights stay as they
/// are kept.
///
/// # Errors
/// The device failed.
pub async fn dense_gradients(
    transformer: &mut Transformer,
    names: &[String],
    backward: impl FnOnce(&Transformer) -> Gradients,
) -> Result<Vec<Vec<f32>>> {
    let mut leaves = Vec::with_capacity(names.len());
    for name in names {
        let parameter = transformer.parameter_mut(name).expect("masks name parameters of the model");
        let leaf = Tensor::from_inner(parameter.value().dense()).require_grad();
        parameter.adaptation = Some(Box::new(TrackedWhole(leaf.clone())));
        leaves.push((leaf, parameter.len()));
    }
    let mut gradients = backward(transformer);
    for name in names {
        transformer.parameter_mut(name).expect("masks name parameters of the model").adaptation = None;
    }
    let mut found = Vec::with_capacity(names.len());
    for (leaf, len) in leaves {
        found.push(match leaf.grad_remove(&mut gradients) {
            Some(gradient) => device::read(gradient).await?,
            None => vec![0.0; len],
        });
    }
    Ok(found)
}
