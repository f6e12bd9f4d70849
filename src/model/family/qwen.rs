//! Qwen2 and 2.5 (Llama with biases on queries, keys and values) and Qwen3 (Llama with normalised queries and keys).

use super::llama;
use crate::{
    Error, Result,
    model::architecture::{Architecture, Fields},
};

/// Reads the fields of transformers' `Qwen2Config`, with its defaults.
pub(super) fn describe_2(fields: &Fields) -> Result<Architecture> {
    refuse_windows(fields)?;
    Ok(Architecture { qkv_bias: true, output_bias: false, ..llama::describe(fields)? })
}

/// Reads the fields of transformers' `Qwen3Config`, with its defaults.
pub(super) fn describe_3(fields: &Fields) -> Result<Architecture> {
    refuse_windows(fields)?;
    let head_dim = fields.size_or("head_dim", Some(128))?;
    let attention_scale = (head_dim as f64).sqrt().recip();
    Ok(Architecture { head_dim, attention_scale, qk_norm: true, ..llama::describe(fields)? })
}

/// Windows on some layers only; no published model of these families switches them on.
fn refuse_windows(fields: &Fields) -> Result<()> {
    if fields.flag_or("use_sliding_window", false)? {
        return Err(Error::input("config.json: use_sliding_window is true, which is not supported for Qwen models"));
    }
    Ok(())
}
