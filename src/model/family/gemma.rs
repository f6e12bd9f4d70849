//! Gemma (Llama with scaled embeddings, GeGLU and norms that store their scale minus one), Gemma 2 (norms on both sides,
//! soft-capped scores, every other block with a sliding window) and Gemma 3 (normalised queries and keys instead of
//! soft caps, and rotary positions of their own in the blocks with windows).

use super::{
    llama,
    spec::{Family, Gguf},
};
use crate::{
    Result,
    model::{
        architecture::{Architecture, NormKind, NormPlacement, Positions, QkNorm, Rope, RopeScaling},
        fields::Fields,
        names::Names,
    },
};

/// Gemma 1.
pub(super) static GEMMA: Family = Family {
    model_type: "gemma",
    class: "Gemma",
    describe: describe_1,
    ignored: &[],
    left_over: &[],
    gguf: Some(Gguf::plain("gemma")),
};

/// Gemma 2.
pub(super) static GEMMA2: Family = Family {
    model_type: "gemma2",
    class: "Gemma2",
    describe: describe_2,
    ignored: &["sliding_window_size"],
    gguf: Some(Gguf {
        score_factor: Some(("attn_q", 46)),
        window_period: Some(2),
        softcaps: true,
        ..Gguf::plain("gemma2")
    }),
    ..GEMMA
};

/// Gemma 3, text only.
pub(super) static GEMMA3: Family = Family {
    model_type: "gemma3_text",
    class: "Gemma3Text",
    describe: describe_3,
    // Where queries are normalised the factor must come after the norm.
    gguf: Some(Gguf { score_factor: Some(("attn_q_norm", 62)), window_period: Some(6), ..Gguf::plain("gemma3") }),
    ..GEMMA
};

/// Gemma 2 and 3: Llama with norms on both sides.
static AROUND: Names = Names {
    attention_output_norm: "post_attention_layernorm",
    feed_forward_norm: "pre_feedforward_layernorm",
    feed_forward_output_norm: "post_feedforward_layernorm",
    ..llama::NAMES
};

/// Reads the fields of transformers' `GemmaConfig`, with its defaults.
fn describe_1(fields: &Fields) -> Result<Architecture> {
    fields.refuse(&["use_bidirectional_attention"])?;
    // Early configurations say "gelu" in hidden_act and mean the approximation, as hidden_activation says since.
    let activation = fields.activation("hidden_activation", "gelu_pytorch_tanh")?;
    let llama = llama::describe(fields)?;
    let head_dim = fields.size_or("head_dim", Some(256))?;
    Ok(Architecture {
        head_dim,
        attention_scale: (head_dim as f64).sqrt().recip(),
        embedding_scale: (llama.hidden_size as f64).sqrt(),
        norm: NormKind::RmsOffset,
        activation,
        tied_head: fields.flag_or("tie_word_embeddings", true)?,
        ..llama
    })
}

/// Reads the fields of transformers' `Gemma2Config`, with its defaults.
fn describe_2(fields: &Fields) -> Result<Architecture> {
    let mut architecture = around(fields, [Some(50.0), Some(30.0)])?;
    windows(&mut architecture, fields, |layer| layer % 2 == 0)?;
    Ok(architecture)
}

/// Reads the fields of transformers' `Gemma3TextConfig`, with its defaults.
fn describe_3(fields: &Fields) -> Result<Architecture> {
    let mut architecture = Architecture { qk_norm: Some(QkNorm::Head), ..around(fields, [None, None])? };
    let everywhere = match fields.rope_of_layers("full_attention", 1_000_000.0)? {
        Some(rope) => rope,
        None => fields.rope_with_base(1_000_000.0)?,
    };
    let theta = fields.number_or("rope_local_base_freq", 10_000.0)?;
    let in_windows = match fields.rope_of_layers("sliding_attention", theta)? {
        Some(rope) => rope,
        None => Rope { theta, share: 1.0, scaling: RopeScaling::Default },
    };
    architecture.positions = Positions::Rotary(vec![everywhere, in_windows]);
    let pattern =
        fields.size_or("sliding_window_pattern", Some(fields.size_or("_sliding_window_pattern", Some(6))?))?;
    windows(&mut architecture, fields, |layer| !(layer + 1).is_multiple_of(pattern))?;
    for block in &mut architecture.blocks {
        block.rope = Some(usize::from(block.window.is_some()));
    }
    Ok(architecture)
}

/// What Gemma 2 and 3 have in common; `caps` are the default bounds of scores and logits.
fn around(fields: &Fields, caps: [Option<f64>; 2]) -> Result<Architecture> {
    let mut architecture = Architecture {
        names: &AROUND,
        attention_scale: fields.number_or("query_pre_attn_scalar", 256.0)?.sqrt().recip(),
        attention_softcap: fields.cap("attn_logit_softcapping", caps[0])?,
        logit_softcap: fields.cap("final_logit_softcapping", caps[1])?,
        ..describe_1(fields)?
    };
    for block in &mut architecture.blocks {
        *block = block.with_norms(NormPlacement::AROUND);
    }
    Ok(architecture)
}

fn windows(architecture: &mut Architecture, fields: &Fields, by_default: impl Fn(usize) -> bool) -> Result<()> {
    let window = fields.size_or("sliding_window", Some(4096))?;
    let sliding = fields.sliding_layers(architecture.blocks.len(), by_default)?;
    for (block, sliding) in architecture.blocks.iter_mut().zip(sliding) {
        block.window = sliding.then_some(window);
    }
    Ok(())
}
