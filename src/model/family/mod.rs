//! The supported model families: one file each, one line in the table.

mod bert;
mod exaone4;
mod gemma;
mod gpt2;
mod gpt_neox;
pub mod left_over;
mod llama;
mod mistral;
mod modernbert;
mod olmo2;
mod qwen;
pub mod spec;
mod stablelm;

use serde_json::Value;

pub use self::spec::{Family, Gguf};
use super::{architecture::Architecture, fields::Fields};
use crate::{Error, Result};

/// All families.
static FAMILIES: &[&Family] = &[
    &llama::LLAMA,
    &mistral::MISTRAL,
    &qwen::QWEN2,
    &qwen::QWEN3,
    &gemma::GEMMA,
    &gemma::GEMMA2,
    &gemma::GEMMA3,
    &gpt2::GPT2,
    &gpt_neox::GPT_NEOX,
    &stablelm::STABLELM,
    &olmo2::OLMO2,
    &exaone4::EXAONE4,
    &bert::BERT,
    &modernbert::MODERNBERT,
];

/// The supported values of `model_type`.
pub fn supported() -> Vec<&'static str> {
    FAMILIES.iter().map(|family| family.model_type).collect()
}

/// Those of the families that can be written as GGUF.
pub fn in_gguf() -> Vec<&'static str> {
    FAMILIES.iter().filter(|family| family.gguf.is_some()).map(|family| family.model_type).collect()
}

/// The family of this `model_type`.
pub fn find(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().copied().find(|family| family.model_type == model_type)
}

/// The architecture that a `config.json` describes.
///
/// # Errors
/// A family that is not supported (the message lists those that are), a field that is missing or wrong, or one that nobody
/// reads and that may change what the model computes.
pub fn describe(config: &Value) -> Result<Architecture> {
    let model_type = match config.get("model_type").and_then(Value::as_str) {
        Some(model_type) => model_type,
        None => return Err(Error::input("config.json: the field \"model_type\" is missing")),
    };
    let family = find(model_type).ok_or_else(|| {
        Error::input(format!(
            "config.json: model_type \"{model_type}\" is not supported; supported are: {}",
            supported().join(", ")
        ))
    })?;
    let fields = Fields::new(config);
    let architecture = Architecture {
        model_type: model_type.into(),
        initializer_range: fields.number_or("initializer_range", 0.02)?,
        stored: fields.stored(),
        ..(family.describe)(&fields)?
    };
    let architecture = architecture.check()?;
    fields.all_read(family.ignored)?;
    Ok(architecture)
}
