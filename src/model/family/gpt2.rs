//! GPT-2: learned positions, LayerNorm, one matrix for queries, keys and values, weights stored `[inputs, outputs]`.

use super::spec::{Family, Gguf, LeftOver};
use crate::{
    Result,
    model::{
        architecture::{Architecture, BlockFacts, FeedForwardKind, NormKind},
        fields::Fields,
        names::{self, Names},
    },
};

/// The family.
pub(super) static GPT2: Family = Family {
    model_type: "gpt2",
    class: "GPT2",
    describe,
    // A second name of n_positions, and what is said of a head for multiple choice.
    ignored: &["n_ctx", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"],
    left_over: &[(".attn.bias", LeftOver::CausalMask), (".attn.masked_bias", LeftOver::HiddenScore)],
    gguf: Some(Gguf::plain("gpt2")),
};

static NAMES: Names = Names {
    prefix: "transformer.",
    embedding: "wte",
    positions: "wpe",
    block: "h.",
    attention_norm: "ln_1",
    fused_qkv: "attn.c_attn",
    output: "attn.c_proj",
    feed_forward_norm: "ln_2",
    up: "mlp.c_fc",
    down: "mlp.c_proj",
    norm: "ln_f",
    head: "lm_head",
    classifier: "score",
    ..names::NONE
};

/// Reads the fields of transformers' `GPT2Config`, with its defaults.
fn describe(fields: &Fields) -> Result<Architecture> {
    fields.refuse(&["scale_attn_by_inverse_layer_idx", "add_cross_attention"])?;
    let hidden_size = fields.size_or("n_embd", Some(768))?;
    let heads = fields.size_or("n_head", Some(12))?;
    let head_dim = hidden_size / heads;
    let scaled = fields.flag_or("scale_attn_weights", true)?;
    let block = BlockFacts { rope: None, feed_forward: FeedForwardKind::Plain, ..BlockFacts::LLAMA };
    Ok(Architecture {
        names: &NAMES,
        vocab_size: fields.size_or("vocab_size", Some(50_257))?,
        hidden_size,
        intermediate_size: fields.size_or("n_inner", Some(4 * hidden_size))?,
        heads,
        kv_heads: heads,
        head_dim,
        max_positions: fields.size_or("n_positions", Some(1024))?,
        norm: NormKind::Layer,
        norm_eps: fields.number_or("layer_norm_epsilon", 1e-5)?,
        blocks: vec![block; fields.layers("n_layer")?],
        attention_scale: if scaled { (head_dim as f64).sqrt().recip() } else { 1.0 },
        fused_qkv: true,
        qkv_bias: true,
        output_bias: true,
        activation: fields.activation("activation_function", "gelu_new")?,
        mlp_bias: true,
        transposed: true,
        tied_head: fields.flag_or("tie_word_embeddings", true)?,
        ..Architecture::default()
    })
}
