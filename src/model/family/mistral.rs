//! Mistral: Llama with a sliding window of attention.

use super::{llama, spec::Family};
use crate::{
    Result,
    model::{architecture::Architecture, fields::Fields},
};

/// The family.
pub(super) static MISTRAL: Family =
    Family { model_type: "mistral", class: "Mistral", describe, ignored: &[], left_over: &[], gguf: Some(llama::GGUF) };

/// Reads the fields of transformers' `MistralConfig`, with its defaults.
fn describe(fields: &Fields) -> Result<Architecture> {
    let window = fields.size_or("sliding_window", Some(usize::MAX))?;
    let mut architecture =
        Architecture { kv_heads: fields.size_or("num_key_value_heads", Some(8))?, ..llama::describe(fields)? };
    for block in &mut architecture.blocks {
        block.window = (window != usize::MAX).then_some(window);
    }
    Ok(architecture)
}
