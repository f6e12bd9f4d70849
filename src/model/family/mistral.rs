//! Mistral: Llama with a sliding window of attention.

use super::llama;
use crate::{
    Result,
    model::architecture::{Architecture, Fields},
};

/// Reads the fields of transformers' `MistralConfig`, with its defaults.
pub(super) fn describe(fields: &Fields) -> Result<Architecture> {
    let window = fields.size_or("sliding_window", Some(usize::MAX))?;
    let mut architecture =
        Architecture { kv_heads: fields.size_or("num_key_value_heads", Some(8))?, ..llama::describe(fields)? };
    for block in &mut architecture.blocks {
        block.window = (window != usize::MAX).then_some(window);
    }
    Ok(architecture)
}
