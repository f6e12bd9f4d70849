//! Llama and everything that calls itself one: Llama 1-3, TinyLlama, SmolLM2.

use crate::{
    Result,
    model::{
        architecture::{Architecture, BlockKind, Fields, NormKind, NormPlacement, Pooling, Positions},
        names,
    },
};

/// Reads the fields of transformers' `LlamaConfig`, with its defaults. The other families of this shape start from it.
pub(super) fn describe(fields: &Fields) -> Result<Architecture> {
    let attention_bias = fields.flag_or("attention_bias", false)?;
    let hidden_size = fields.size("hidden_size")?;
    let heads = fields.size("num_attention_heads")?;
    let head_dim = fields.size_or("head_dim", Some(hidden_size / heads))?;
    Ok(Architecture {
        model_type: fields.text_or("model_type", "llama")?,
        names: &names::LLAMA,
        vocab_size: fields.size("vocab_size")?,
        hidden_size,
        intermediate_size: fields.size("intermediate_size")?,
        heads,
        kv_heads: fields.size_or("num_key_value_heads", Some(heads))?,
        head_dim,
        max_positions: fields.size_or("max_position_embeddings", Some(2048))?,
        token_types: 0,
        embedding_scale: 1.0,
        embedding_norm: false,
        norm: NormKind::Rms,
        norm_eps: fields.number_or("rms_norm_eps", 1e-6)?,
        placement: NormPlacement::Before,
        positions: Positions::Rotary(vec![fields.rope()?]),
        blocks: vec![BlockKind::default(); fields.layers("num_hidden_layers")?],
        causal: true,
        attention_scale: (head_dim as f64).sqrt().recip(),
        attention_softcap: None,
        logit_softcap: None,
        fused_qkv: false,
        qkv_bias: attention_bias,
        output_bias: attention_bias,
        qk_norm: false,
        activation: fields.activation("hidden_act", "silu")?,
        gated: true,
        mlp_bias: fields.flag_or("mlp_bias", false)?,
        transposed: false,
        tied_head: fields.flag_or("tie_word_embeddings", false)?,
        pooling: Pooling::LastToken,
        initializer_range: fields.number_or("initializer_range", 0.02)?,
        stored: fields.stored(),
    })
}
