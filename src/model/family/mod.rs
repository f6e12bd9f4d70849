//! The supported model families: one file each, one line in the table.

mod bert;
mod gemma;
mod gpt2;
mod llama;
mod mistral;
mod qwen;

use serde_json::Value;

use super::architecture::{Architecture, Fields};
use crate::{Error, Result};

/// Reads one family's `config.json`.
type Describe = fn(&Fields) -> Result<Architecture>;

/// `model_type` and its reader.
const FAMILIES: &[(&str, Describe)] = &[
    ("llama", llama::describe),
    ("mistral", mistral::describe),
    ("qwen2", qwen::describe_2),
    ("qwen3", qwen::describe_3),
    ("gemma", gemma::describe_1),
    ("gemma2", gemma::describe_2),
    ("gemma3_text", gemma::describe_3),
    ("gpt2", gpt2::describe),
    ("bert", bert::describe),
];

/// The supported values of `model_type`.
pub fn supported() -> Vec<&'static str> {
    FAMILIES.iter().map(|(name, _)| *name).collect()
}

/// The architecture that a `config.json` describes.
///
/// # Errors
/// A family that is not supported (the message lists those that are), or a field that is missing or wrong.
pub fn describe(config: &Value) -> Result<Architecture> {
    let fields = Fields { json: config };
    let model_type = match config.get("model_type").and_then(Value::as_str) {
        Some(model_type) => model_type,
        None => return Err(Error::input("config.json: the field \"model_type\" is missing")),
    };
    let Some((_, describe)) = FAMILIES.iter().find(|(name, _)| *name == model_type) else {
        return Err(Error::input(format!(
            "config.json: model_type \"{model_type}\" is not supported; supported are: {}",
            supported().join(", ")
        )));
    };
    describe(&fields)?.check()
}
