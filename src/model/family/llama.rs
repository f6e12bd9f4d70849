//! Llama and everything that calls itself one: Llama 1-3, TinyLlama, SmolLM2.

use crate::{
    Error, Result,
    model::architecture::{Activation, Architecture, Fields},
};

/// Reads the fields of transformers' `LlamaConfig`, with its defaults. The other families of this shape start from it.
pub(super) fn describe(fields: &Fields) -> Result<Architecture> {
    let model_type = fields.text_or("model_type", "llama")?;
    let activation = match fields.text_or("hidden_act", "silu")?.as_str() {
        "silu" | "swish" => Activation::Silu,
        other => {
            return Err(Error::input(format!(
                "config.json: hidden_act \"{other}\" is not supported for {model_type}; silu is"
            )));
        }
    };
    let attention_bias = fields.flag_or("attention_bias", false)?;
    let hidden_size = fields.size("hidden_size")?;
    let heads = fields.size("num_attention_heads")?;
    Ok(Architecture {
        model_type,
        vocab_size: fields.size("vocab_size")?,
        hidden_size,
        intermediate_size: fields.size("intermediate_size")?,
        layers: fields.size("num_hidden_layers")?,
        heads,
        kv_heads: fields.size_or("num_key_value_heads", Some(heads))?,
        head_dim: fields.size_or("head_dim", Some(hidden_size / heads))?,
        max_positions: fields.size_or("max_position_embeddings", Some(2048))?,
        norm_eps: fields.number_or("rms_norm_eps", 1e-6)?,
        activation,
        rope: fields.rope()?,
        qkv_bias: attention_bias,
        output_bias: attention_bias,
        qk_norm: false,
        sliding_window: None,
        mlp_bias: fields.flag_or("mlp_bias", false)?,
        tied_head: fields.flag_or("tie_word_embeddings", false)?,
        initializer_range: fields.number_or("initializer_range", 0.02)?,
    })
}
