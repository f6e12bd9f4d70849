//! GPT-2: learned positions, LayerNorm, one matrix for queries, keys and values, weights stored `[inputs, outputs]`.

use crate::{
    Error, Result,
    model::{
        architecture::{Architecture, BlockKind, Fields, NormKind, NormPlacement, Pooling, Positions},
        names,
    },
};

/// Reads the fields of transformers' `GPT2Config`, with its defaults.
pub(super) fn describe(fields: &Fields) -> Result<Architecture> {
    for flag in ["scale_attn_by_inverse_layer_idx", "add_cross_attention"] {
        if fields.flag_or(flag, false)? {
            return Err(Error::input(format!("config.json: {flag} is true, which is not supported")));
        }
    }
    let hidden_size = fields.size_or("n_embd", Some(768))?;
    let heads = fields.size_or("n_head", Some(12))?;
    let head_dim = hidden_size / heads;
    let scaled = fields.flag_or("scale_attn_weights", true)?;
    Ok(Architecture {
        model_type: "gpt2".into(),
        names: &names::GPT2,
        vocab_size: fields.size_or("vocab_size", Some(50_257))?,
        hidden_size,
        intermediate_size: fields.size_or("n_inner", Some(4 * hidden_size))?,
        heads,
        kv_heads: heads,
        head_dim,
        max_positions: fields.size_or("n_positions", Some(1024))?,
        token_types: 0,
        embedding_scale: 1.0,
        embedding_norm: false,
        norm: NormKind::Layer,
        norm_eps: fields.number_or("layer_norm_epsilon", 1e-5)?,
        placement: NormPlacement::Before,
        positions: Positions::Learned,
        blocks: vec![BlockKind::default(); fields.layers("n_layer")?],
        causal: true,
        attention_scale: if scaled { (head_dim as f64).sqrt().recip() } else { 1.0 },
        attention_softcap: None,
        logit_softcap: None,
        fused_qkv: true,
        qkv_bias: true,
        output_bias: true,
        qk_norm: false,
        activation: fields.activation("activation_function", "gelu_new")?,
        gated: false,
        mlp_bias: true,
        transposed: true,
        tied_head: fields.flag_or("tie_word_embeddings", true)?,
        pooling: Pooling::LastToken,
        initializer_range: fields.number_or("initializer_range", 0.02)?,
        stored: fields.stored(),
    })
}
