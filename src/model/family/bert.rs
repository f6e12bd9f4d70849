//! BERT encoders: every token sees every other, norms behind each part, a pooler for classification.

use super::spec::{Family, LeftOver};
use crate::{
    Error, Result,
    model::{
        architecture::{Architecture, BlockFacts, FeedForwardKind, NormKind, NormPlacement, Pooler, Pooling},
        fields::Fields,
        names::{self, Names},
    },
};

/// The family.
pub(super) static BERT: Family = Family {
    model_type: "bert",
    class: "Bert",
    describe,
    // The head of the pretraining is not used, and the first release described the pooler.
    ignored: &[
        "tie_word_embeddings",
        "directionality",
        "pooler_fc_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
    ],
    left_over: &[("cls.", LeftOver::OtherHead)],
    gguf: None,
};

static NAMES: Names = Names {
    prefix: "bert.",
    embedding: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    token_types: "embeddings.token_type_embeddings",
    embedding_norm: "embeddings.LayerNorm",
    block: "encoder.layer.",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    output: "attention.output.dense",
    attention_output_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    feed_forward_output_norm: "output.LayerNorm",
    pooler: "bert.pooler.dense",
    classifier: "classifier",
    ..names::NONE
};

/// Reads the fields of transformers' `BertConfig`, with its defaults.
fn describe(fields: &Fields) -> Result<Architecture> {
    fields.refuse(&["is_decoder", "add_cross_attention"])?;
    let kind = fields.text_or("position_embedding_type", "absolute")?;
    if kind != "absolute" {
        return Err(Error::input(format!(
            "config.json: position_embedding_type \"{kind}\" is not supported; absolute is"
        )));
    }
    let hidden_size = fields.size_or("hidden_size", Some(768))?;
    let heads = fields.size_or("num_attention_heads", Some(12))?;
    let head_dim = hidden_size / heads;
    let block = BlockFacts { rope: None, feed_forward: FeedForwardKind::Plain, ..BlockFacts::LLAMA }
        .with_norms(NormPlacement::AFTER_RESIDUAL);
    Ok(Architecture {
        names: &NAMES,
        vocab_size: fields.size_or("vocab_size", Some(30_522))?,
        hidden_size,
        intermediate_size: fields.size_or("intermediate_size", Some(3072))?,
        heads,
        kv_heads: heads,
        head_dim,
        max_positions: fields.size_or("max_position_embeddings", Some(512))?,
        token_types: fields.size_or("type_vocab_size", Some(2))?,
        embedding_norm: true,
        final_norm: false,
        norm: NormKind::Layer,
        norm_eps: fields.number_or("layer_norm_eps", 1e-12)?,
        blocks: vec![block; fields.layers("num_hidden_layers")?],
        causal: false,
        attention_scale: (head_dim as f64).sqrt().recip(),
        qkv_bias: true,
        output_bias: true,
        activation: fields.activation("hidden_act", "gelu")?,
        mlp_bias: true,
        pooling: Pooling::FirstToken,
        pooler: Some(Pooler { bias: true, activation: None, norm: false }),
        classifier_bias: true,
        ..Architecture::default()
    })
}
