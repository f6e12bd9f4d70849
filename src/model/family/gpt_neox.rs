//! GPT-NeoX (Black et al. 2022) as Pythia and RedPajama-INCITE have it: attention and feed-forward layer beside each other,
//! one matrix for queries, keys and values whose rows come head by head, rotary positions on the first part of each head.

use super::spec::{Family, Gguf, LeftOver};
use crate::{
    Result,
    model::{
        architecture::{Architecture, BlockFacts, FeedForwardKind, NormKind, Positions, Rope},
        fields::Fields,
        names::{self, Names},
    },
};

/// The family.
pub(super) static GPT_NEOX: Family = Family {
    model_type: "gpt_neox",
    class: "GPTNeoX",
    describe,
    ignored: &[],
    left_over: &[(".attention.bias", LeftOver::CausalMask), (".attention.masked_bias", LeftOver::HiddenScore)],
    gguf: Some(Gguf::plain("gptneox")),
};

static NAMES: Names = Names {
    prefix: "gpt_neox.",
    embedding: "embed_in",
    block: "layers.",
    attention_norm: "input_layernorm",
    fused_qkv: "attention.query_key_value",
    output: "attention.dense",
    feed_forward_norm: "post_attention_layernorm",
    up: "mlp.dense_h_to_4h",
    down: "mlp.dense_4h_to_h",
    norm: "final_layer_norm",
    head: "embed_out",
    classifier: "score",
    ..names::NONE
};

/// Reads the fields of transformers' `GPTNeoXConfig`, with its defaults; sizes must be there.
fn describe(fields: &Fields) -> Result<Architecture> {
    fields.refuse(&["is_decoder"])?;
    let bias = fields.flag_or("attention_bias", true)?;
    let hidden_size = fields.size("hidden_size")?;
    let heads = fields.size("num_attention_heads")?;
    let head_dim = hidden_size / heads;
    let rope = fields.rope_with_base(fields.number_or("rotary_emb_base", 10_000.0)?)?;
    let rope = Rope { share: fields.rotary_share("rotary_pct", 0.25)?, ..rope };
    let block = BlockFacts {
        parallel: fields.flag_or("use_parallel_residual", true)?,
        feed_forward: FeedForwardKind::Plain,
        ..BlockFacts::LLAMA
    };
    Ok(Architecture {
        names: &NAMES,
        vocab_size: fields.size("vocab_size")?,
        hidden_size,
        intermediate_size: fields.size("intermediate_size")?,
        heads,
        kv_heads: heads,
        head_dim,
        max_positions: fields.size_or("max_position_embeddings", Some(2048))?,
        norm: NormKind::Layer,
        norm_eps: fields.number_or("layer_norm_eps", 1e-5)?,
        positions: Positions::Rotary(vec![rope]),
        blocks: vec![block; fields.layers("num_hidden_layers")?],
        attention_scale: (head_dim as f64).sqrt().recip(),
        fused_qkv: true,
        qkv_by_head: true,
        qkv_bias: bias,
        output_bias: bias,
        activation: fields.activation("hidden_act", "gelu")?,
        mlp_bias: true,
        tied_head: fields.flag_or("tie_word_embeddings", false)?,
        ..Architecture::default()
    })
}
