//! Gemma (Llama with scaled embeddings, GeGLU and norms that store their scale minus one), Gemma 2 (norms on both sides,
//! soft-capped scores, every other block with a sliding window) and Gemma 3 (normalised queries and keys instead of
//! soft caps, and rotary positions of their own in the blocks with windows).

use super::llama;
use crate::{
    Error, Result,
    model::{
        architecture::{Architecture, Fields, NormKind, NormPlacement, Positions},
        names,
    },
};

/// Reads the fields of transformers' `GemmaConfig`, with its defaults.
pub(super) fn describe_1(fields: &Fields) -> Result<Architecture> {
    if fields.flag_or("use_bidirectional_attention", false)? {
        return Err(Error::input("config.json: use_bidirectional_attention is true, which is not supported"));
    }
    let llama = llama::describe(fields)?;
    let head_dim = fields.size_or("head_dim", Some(256))?;
    Ok(Architecture {
        head_dim,
        attention_scale: (head_dim as f64).sqrt().recip(),
        embedding_scale: (llama.hidden_size as f64).sqrt(),
        norm: NormKind::RmsOffset,
        // Early configurations say "gelu" in hidden_act and mean the approximation, as hidden_activation says since.
        activation: fields.activation("hidden_activation", "gelu_pytorch_tanh")?,
        tied_head: fields.flag_or("tie_word_embeddings", true)?,
        ..llama
    })
}

/// Reads the fields of transformers' `Gemma2Config`, with its defaults.
pub(super) fn describe_2(fields: &Fields) -> Result<Architecture> {
    let mut architecture = around(fields)?;
    let cap = |key, default| Ok::<_, Error>(Some(fields.number_or(key, default)?).filter(|cap| *cap > 0.0));
    architecture.attention_softcap =
        cap("attn_logit_softcapping", if fields.is_null("attn_logit_softcapping") { 0.0 } else { 50.0 })?;
    architecture.logit_softcap =
        cap("final_logit_softcapping", if fields.is_null("final_logit_softcapping") { 0.0 } else { 30.0 })?;
    windows(&mut architecture, fields, |layer| layer % 2 == 0)?;
    Ok(architecture)
}

/// Reads the fields of transformers' `Gemma3TextConfig`, with its defaults.
pub(super) fn describe_3(fields: &Fields) -> Result<Architecture> {
    let mut architecture = Architecture { qk_norm: true, ..around(fields)? };
    let nested =
        |kind: &str| fields.json.get("rope_parameters").and_then(|all| all.get(kind)).filter(|v| v.is_object());
    let everywhere = match nested("full_attention") {
        Some(json) => Fields { json }.scaled_rope(1_000_000.0)?,
        None => fields.rope_with_base(1_000_000.0)?,
    };
    let in_windows = match nested("sliding_attention") {
        Some(json) => Fields { json }.scaled_rope(10_000.0)?,
        None => {
            Fields { json: &serde_json::json!({}) }.scaled_rope(fields.number_or("rope_local_base_freq", 10_000.0)?)?
        }
    };
    architecture.positions = Positions::Rotary(vec![everywhere, in_windows]);
    let pattern =
        fields.size_or("sliding_window_pattern", Some(fields.size_or("_sliding_window_pattern", Some(6))?))?;
    windows(&mut architecture, fields, |layer| !(layer + 1).is_multiple_of(pattern))?;
    for block in &mut architecture.blocks {
        block.rope = usize::from(block.window.is_some());
    }
    Ok(architecture)
}

/// What Gemma 2 and 3 have in common.
fn around(fields: &Fields) -> Result<Architecture> {
    Ok(Architecture {
        names: &names::GEMMA,
        placement: NormPlacement::Around,
        attention_scale: fields.number_or("query_pre_attn_scalar", 256.0)?.sqrt().recip(),
        ..describe_1(fields)?
    })
}

fn windows(architecture: &mut Architecture, fields: &Fields, by_default: impl Fn(usize) -> bool) -> Result<()> {
    let window = fields.size_or("sliding_window", Some(4096))?;
    let sliding = fields.sliding_layers(architecture.blocks.len(), by_default)?;
    for (block, sliding) in architecture.blocks.iter_mut().zip(sliding) {
        block.window = sliding.then_some(window);
    }
    Ok(())
}
