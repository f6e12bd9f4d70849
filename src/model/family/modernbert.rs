//! ModernBERT (Warner et al. 2024): an encoder with norms before the sub-layers, gated feed-forward layers and rotary
//! positions; two blocks of three see a window on both sides only, with a rotary base of their own.

use super::spec::{Family, LeftOver};
use crate::{
    Error, Result,
    model::{
        architecture::{
            Architecture, BlockFacts, FeedForwardKind, NormKind, NormPlacement, Pooler, Pooling, Positions, Rope,
            RopeScaling,
        },
        fields::Fields,
        names::{self, Names},
    },
};

/// The family.
pub(super) static MODERNBERT: Family = Family {
    model_type: "modernbert",
    class: "ModernBert",
    describe,
    // The head of the pretraining is not used, norm_eps is what counts, and published files say "absolute" for no reason.
    ignored: &[
        "tie_word_embeddings",
        "decoder_bias",
        "sparse_prediction",
        "sparse_pred_ignore_index",
        "layer_norm_eps",
        "position_embedding_type",
    ],
    left_over: &[("decoder.", LeftOver::OtherHead)],
    gguf: None,
};

static NAMES: Names = Names {
    prefix: "model.",
    embedding: "embeddings.tok_embeddings",
    embedding_norm: "embeddings.norm",
    block: "layers.",
    attention_norm: "attn_norm",
    fused_qkv: "attn.Wqkv",
    output: "attn.Wo",
    feed_forward_norm: "mlp_norm",
    gate_up: "mlp.Wi",
    down: "mlp.Wo",
    norm: "final_norm",
    pooler: "head.dense",
    pooler_norm: "head.norm",
    classifier: "classifier",
    ..names::NONE
};

/// Reads the fields of transformers' `ModernBertConfig`, with its defaults; sizes must be there.
fn describe(fields: &Fields) -> Result<Architecture> {
    let hidden_size = fields.size("hidden_size")?;
    let heads = fields.size("num_attention_heads")?;
    let head_dim = hidden_size / heads;
    let bias = fields.flag_or("attention_bias", false)?;
    let norm = if fields.flag_or("norm_bias", false)? { NormKind::Layer } else { NormKind::LayerWithoutBias };
    let pooling = match fields.text_or("classifier_pooling", "cls")?.as_str() {
        "cls" => Pooling::FirstToken,
        "mean" => Pooling::Mean,
        other => {
            return Err(Error::input(format!(
                "config.json: classifier_pooling \"{other}\" is not supported; supported are cls and mean"
            )));
        }
    };
    Ok(Architecture {
        names: &NAMES,
        vocab_size: fields.size("vocab_size")?,
        hidden_size,
        intermediate_size: fields.size("intermediate_size")?,
        heads,
        kv_heads: heads,
        head_dim,
        max_positions: fields.size_or("max_position_embeddings", Some(8192))?,
        embedding_norm: true,
        norm,
        norm_eps: fields.number_or("norm_eps", 1e-5)?,
        positions: Positions::Rotary(vec![
            rope(fields, "full_attention", "global_rope_theta", 160_000.0)?,
            rope(fields, "sliding_attention", "local_rope_theta", 10_000.0)?,
        ]),
        blocks: blocks(fields)?,
        causal: false,
        attention_scale: (head_dim as f64).sqrt().recip(),
        fused_qkv: true,
        qkv_bias: bias,
        output_bias: bias,
        activation: fields.activation("hidden_activation", "gelu")?,
        mlp_bias: fields.flag_or("mlp_bias", false)?,
        pooling,
        pooler: Some(Pooler {
            bias: fields.flag_or("classifier_bias", false)?,
            activation: Some(fields.activation("classifier_activation", "gelu")?),
            norm: true,
        }),
        classifier_bias: true,
        ..Architecture::default()
    })
}

fn rope(fields: &Fields, kind: &str, old: &str, theta: f64) -> Result<Rope> {
    let theta = fields.number_or(old, theta)?;
    let told = fields.rope_of_layers(kind, theta)?;
    Ok(told.unwrap_or(Rope { theta, share: 1.0, scaling: RopeScaling::Default }))
}

/// Blocks with and without windows; the first has no norm before its attention, since the embeddings come normalised.
fn blocks(fields: &Fields) -> Result<Vec<BlockFacts>> {
    let every = fields.size_or("global_attn_every_n_layers", Some(3))?;
    let sliding = fields.sliding_layers(fields.layers("num_hidden_layers")?, |layer| layer % every != 0)?;
    // Both sides together, with both ends: |i - j| <= local_attention / 2.
    let window = fields.size_or("local_attention", Some(128))? / 2 + 1;
    let block = |(layer, sliding): (usize, bool)| BlockFacts {
        window: sliding.then_some(window),
        rope: Some(usize::from(sliding)),
        attention_norms: if layer == 0 { NormPlacement::NONE } else { NormPlacement::BEFORE },
        feed_forward: FeedForwardKind::GatedFused,
        ..BlockFacts::LLAMA
    };
    Ok(sliding.into_iter().enumerate().map(block).collect())
}
