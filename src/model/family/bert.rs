//! BERT encoders: every token sees every other, norms behind each part, a pooler for classification.

use crate::{
    Error, Result,
    model::{
        architecture::{Architecture, BlockKind, Fields, NormKind, NormPlacement, Pooling, Positions},
        names,
    },
};

/// Reads the fields of transformers' `BertConfig`, with its defaults.
pub(super) fn describe(fields: &Fields) -> Result<Architecture> {
    for flag in ["is_decoder", "add_cross_attention"] {
        if fields.flag_or(flag, false)? {
            return Err(Error::input(format!("config.json: {flag} is true, which is not supported for BERT")));
        }
    }
    let kind = fields.text_or("position_embedding_type", "absolute")?;
    if kind != "absolute" {
        return Err(Error::input(format!(
            "config.json: position_embedding_type \"{kind}\" is not supported; absolute is"
        )));
    }
    let hidden_size = fields.size_or("hidden_size", Some(768))?;
    let heads = fields.size_or("num_attention_heads", Some(12))?;
    let head_dim = hidden_size / heads;
    Ok(Architecture {
        model_type: "bert".into(),
        names: &names::BERT,
        vocab_size: fields.size_or("vocab_size", Some(30_522))?,
        hidden_size,
        intermediate_size: fields.size_or("intermediate_size", Some(3072))?,
        heads,
        kv_heads: heads,
        head_dim,
        max_positions: fields.size_or("max_position_embeddings", Some(512))?,
        token_types: fields.size_or("type_vocab_size", Some(2))?,
        embedding_scale: 1.0,
        embedding_norm: true,
        norm: NormKind::Layer,
        norm_eps: fields.number_or("layer_norm_eps", 1e-12)?,
        placement: NormPlacement::After,
        positions: Positions::Learned,
        blocks: vec![BlockKind::default(); fields.layers("num_hidden_layers")?],
        causal: false,
        attention_scale: (head_dim as f64).sqrt().recip(),
        attention_softcap: None,
        logit_softcap: None,
        fused_qkv: false,
        qkv_bias: true,
        output_bias: true,
        qk_norm: false,
        activation: fields.activation("hidden_act", "gelu")?,
        gated: false,
        mlp_bias: true,
        transposed: false,
        tied_head: true,
        pooling: Pooling::FirstToken,
        initializer_range: fields.number_or("initializer_range", 0.02)?,
        stored: fields.stored(),
    })
}
