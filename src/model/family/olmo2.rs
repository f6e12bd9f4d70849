//! OLMo 2 (Walsh et al. 2024): Llama with norms behind the sub-layers instead of before them, and with queries and keys
//! normalised over all heads together.

use super::{
    llama,
    spec::{Family, Gguf},
};
use crate::{
    Result,
    model::{
        architecture::{Architecture, NormPlacement, QkNorm},
        fields::Fields,
        names::Names,
    },
};

/// The family.
pub(super) static OLMO2: Family = Family {
    model_type: "olmo2",
    class: "Olmo2",
    describe,
    ignored: &[],
    left_over: &[],
    gguf: Some(Gguf::plain("olmo2")),
};

pub(super) static NAMES: Names = Names {
    attention_output_norm: "post_attention_layernorm",
    feed_forward_norm: "",
    feed_forward_output_norm: "post_feedforward_layernorm",
    ..llama::NAMES
};

/// Reads the fields of transformers' `Olmo2Config`, with its defaults.
fn describe(fields: &Fields) -> Result<Architecture> {
    let mut architecture = Architecture {
        names: &NAMES,
        norm_eps: fields.number_or("rms_norm_eps", 1e-5)?,
        qk_norm: Some(QkNorm::Width),
        ..llama::describe(fields)?
    };
    for block in &mut architecture.blocks {
        *block = block.with_norms(NormPlacement::AFTER);
    }
    Ok(architecture)
}
