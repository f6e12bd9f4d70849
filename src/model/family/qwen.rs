//! Qwen2 and 2.5 (Llama with biases on queries, keys and values) and Qwen3 (Llama with normalised queries and keys).

use super::{
    llama,
    spec::{Family, Gguf},
};
use crate::{
    Error, Result,
    model::{
        architecture::{Architecture, QkNorm},
        fields::Fields,
    },
};

/// Qwen 2 and 2.5.
pub(super) static QWEN2: Family = Family {
    model_type: "qwen2",
    class: "Qwen2",
    describe: describe_2,
    ignored: WITHOUT_WINDOWS,
    left_over: &[],
    gguf: Some(Gguf::plain("qwen2")),
};

/// Qwen 3.
pub(super) static QWEN3: Family =
    Family { model_type: "qwen3", class: "Qwen3", describe: describe_3, gguf: Some(Gguf::plain("qwen3")), ..QWEN2 };

/// They say how large windows would be.
const WITHOUT_WINDOWS: &[&str] = &["sliding_window", "max_window_layers"];

/// Reads the fields of transformers' `Qwen2Config`, with its defaults.
fn describe_2(fields: &Fields) -> Result<Architecture> {
    Ok(Architecture { qkv_bias: true, output_bias: false, ..without_windows(fields)? })
}

/// Reads the fields of transformers' `Qwen3Config`, with its defaults.
fn describe_3(fields: &Fields) -> Result<Architecture> {
    let head_dim = fields.size_or("head_dim", Some(128))?;
    let attention_scale = (head_dim as f64).sqrt().recip();
    Ok(Architecture { head_dim, attention_scale, qk_norm: Some(QkNorm::Head), ..without_windows(fields)? })
}

/// Windows on some layers only; no published model of these families switches them on.
fn without_windows(fields: &Fields) -> Result<Architecture> {
    fields.refuse(&["use_sliding_window"])?;
    let architecture = llama::describe(fields)?;
    if fields.sliding_layers(architecture.layers(), |_| false)?.contains(&true) {
        return Err(Error::input(
            "config.json: layer_types has sliding_attention, which is not supported for Qwen models",
        ));
    }
    Ok(architecture)
}
