//! Llama and everything that calls itself one: Llama 1-3, TinyLlama, SmolLM2.

use super::spec::{Family, Gguf};
use crate::{
    Result,
    model::{
        architecture::{Architecture, BlockFacts, Positions},
        fields::Fields,
        names::{self, Names},
    },
};

/// The family.
pub(super) static LLAMA: Family =
    Family { model_type: "llama", class: "Llama", describe, ignored: &[], left_over: &[], gguf: Some(GGUF) };

pub(super) const GGUF: Gguf = Gguf { neighbours: true, ..Gguf::plain("llama") };

/// The names of Llama and of the families that follow it.
pub(super) const NAMES: Names = Names {
    prefix: "model.",
    embedding: "embed_tokens",
    block: "layers.",
    attention_norm: "input_layernorm",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    output: "self_attn.o_proj",
    query_norm: "self_attn.q_norm",
    key_norm: "self_attn.k_norm",
    feed_forward_norm: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
    norm: "norm",
    head: "lm_head",
    classifier: "score",
    ..names::NONE
};

/// Reads the fields of transformers' `LlamaConfig`, with its defaults. The other families of this shape start from it.
pub(super) fn describe(fields: &Fields) -> Result<Architecture> {
    let attention_bias = fields.flag_or("attention_bias", false)?;
    let hidden_size = fields.size("hidden_size")?;
    let heads = fields.size("num_attention_heads")?;
    let head_dim = fields.size_or("head_dim", Some(hidden_size / heads))?;
    Ok(Architecture {
        names: &NAMES,
        vocab_size: fields.size("vocab_size")?,
        hidden_size,
        intermediate_size: fields.size("intermediate_size")?,
        heads,
        kv_heads: fields.size_or("num_key_value_heads", Some(heads))?,
        head_dim,
        max_positions: fields.size_or("max_position_embeddings", Some(2048))?,
        norm_eps: fields.number_or("rms_norm_eps", 1e-6)?,
        positions: Positions::Rotary(vec![fields.rope()?]),
        blocks: vec![BlockFacts::LLAMA; fields.layers("num_hidden_layers")?],
        attention_scale: (head_dim as f64).sqrt().recip(),
        qkv_bias: attention_bias,
        output_bias: attention_bias,
        activation: fields.activation("hidden_act", "silu")?,
        mlp_bias: fields.flag_or("mlp_bias", false)?,
        tied_head: fields.flag_or("tie_word_embeddings", false)?,
        ..Architecture::default()
    })
}
