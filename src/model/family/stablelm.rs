//! StableLM 2 (Bellagente et al. 2024): Llama with LayerNorm and with rotary positions on the first part of each head; the
//! larger ones have both sub-layers beside each other, on one norm.

use super::{
    llama,
    spec::{Family, Gguf},
};
use crate::{
    Result,
    model::{
        architecture::{Architecture, NormKind, NormPlacement, Positions, Rope},
        fields::Fields,
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

/// Reads the fields of transformers' `StableLmConfig`, with its defaults.
fn describe(fields: &Fields) -> Result<Architecture> {
    // A norm of its own for each head.
    fields.refuse(&["qk_layernorm"])?;
    let mut architecture = Architecture {
        norm: NormKind::Layer,
        norm_eps: fields.number_or("layer_norm_eps", 1e-5)?,
        positions: Positions::Rotary(vec![Rope {
            share: fields.rotary_share("partial_rotary_factor", 0.25)?,
            ..fields.rope()?
        }]),
        qkv_bias: fields.flag_or("use_qkv_bias", false)?,
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
