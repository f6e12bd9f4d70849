//! StableLM 2 (Bellagente et al. 2024): Llama with LayerNorm and with rotary positions on the first part of each head; the
//! larger ones have both sub-layers beside each other, on one norm.

use super::{
    llama,
    spec::{Family, Gguf},
};
use crate::{
    Result,
    model::{
        architecture::{Architecture, NormKind, NormPlacement, Positions, QkNorm, Rope},
        fields::Fields,
        names::Names,
    },
};

/// The family.
pub(super) static STABLELM: Family = Family {
    model_type: "stablelm",
    class: "StableLm",
    describe,
    ignored: &[],
    left_over: &[],
    gguf: Some(Gguf::plain("stablelm")),
};

static NAMES: Names =
    Names { query_norm: "self_attn.q_layernorm.norms", key_norm: "self_attn.k_layernorm.norms", ..llama::NAMES };

/// Reads the fields of transformers' `StableLmConfig`, with its defaults.
fn describe(fields: &Fields) -> Result<Architecture> {
    let mut architecture = Architecture {
        norm: NormKind::Layer,
        norm_eps: fields.number_or("layer_norm_eps", 1e-5)?,
        positions: Positions::Rotary(vec![Rope {
            share: fields.rotary_share("partial_rotary_factor", 0.25)?,
            ..fields.rope()?
        }]),
        qkv_bias: fields.flag_or("use_qkv_bias", false)?,
        qk_norm: fields.flag_or("qk_layernorm", false)?.then_some(QkNorm::OwnScales),
        names: &NAMES,
        ..llama::describe(fields)?
    };
    if fields.flag_or("use_parallel_residual", false)? {
        for block in &mut architecture.blocks {
            block.parallel = true;
            block.feed_forward_norms = NormPlacement::NONE;
        }
    }
    Ok(architecture)
}
