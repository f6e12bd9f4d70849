//! Names, tensors and fields of PEFT's adapter folders, for each of its kinds.

use safetensors::Dtype;
use serde_json::Value;

use super::common;
use crate::{
    Error, Result,
    method::{
        adapter::{Adapter, Export},
        change::TensorChange,
    },
    model::save::cast,
};

/// The file with the values.
pub(super) const VALUES: &str = "adapter_model.safetensors";
/// What PEFT puts in front of a module's name.
pub(super) const PREFIX: &str = "base_model.model.";

/// Names of a file without PEFT's prefix.
pub(super) fn names(adapter: &Adapter) -> impl Iterator<Item = Result<&str>> {
    adapter.weights.names().map(|name| {
        name.strip_prefix(PREFIX)
            .ok_or_else(|| adapter.error(format!("{VALUES}: the name {name} does not start with {PREFIX}")))
    })
}

/// The modules of a file that have a tensor with this ending.
pub(super) fn modules(adapter: &Adapter, ending: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for name in names(adapter) {
        found.extend(name?.strip_suffix(ending).map(str::to_owned));
    }
    Ok(found)
}

/// Values of a tensor by its name without the prefix.
pub(super) fn part(adapter: &Adapter, name: &str) -> Result<Vec<f32>> {
    adapter.weights.floats(&format!("{PREFIX}{name}")).map_err(|e| adapter.error(e))
}

/// Integers of a tensor by its name without the prefix.
pub(super) fn integers(adapter: &Adapter, name: &str) -> Result<Vec<i64>> {
    common::integers(&adapter.weights, &format!("{PREFIX}{name}")).map_err(|e| adapter.error(e))
}

/// Shape of a tensor by its name without the prefix.
pub(super) fn dims<'a>(adapter: &'a Adapter, name: &str) -> &'a [usize] {
    adapter.weights.dims(&format!("{PREFIX}{name}")).unwrap_or_default()
}

/// A tensor of the file to be written: name without the prefix, type, shape, bytes.
pub(super) type Part = (String, Dtype, Vec<usize>, Vec<u8>);

/// A matrix or vector of floats.
pub(super) fn floats(name: String, dims: Vec<usize>, values: &[f32]) -> Result<Part> {
    Ok((name, Dtype::F32, dims, cast(values, Dtype::F32)?))
}

/// Fields of `adapter_config.json`, sorted by name.
pub(super) type Config = std::collections::BTreeMap<String, Value>;

/// Module name of a weight.
pub(super) fn module(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

/// The sentence about a change that PEFT's kinds of layers cannot hold.
pub(super) fn no_layer(export: &Export, tensor: &TensorChange, kind: &str) -> Error {
    export.adapter.error(format!(
        "{} is no linear layer, and {kind} of PEFT adapts those only; train with other --target-modules, export it as \
         agoge, or merge it into the model",
        tensor.name
    ))
}
