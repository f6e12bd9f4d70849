//! What checkpoints call their tensors: one table a naming tradition.

/// Names of a checkpoint's tensors without `.weight` and `.bias`. Those of a block stand behind `block` and its number.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// In front of all names but those of the heads. Checkpoints of headless models lack it.
    pub prefix: &'static str,
    /// Embedding table.
    pub embedding: &'static str,
    /// Table of learned positions.
    pub positions: &'static str,
    /// Table of token types.
    pub token_types: &'static str,
    /// Norm of the embeddings.
    pub embedding_norm: &'static str,
    /// In front of a block's number.
    pub block: &'static str,
    /// Norm before attention.
    pub attention_norm: &'static str,
    /// Query, key and value projections in one.
    pub fused_qkv: &'static str,
    /// Query projection.
    pub query: &'static str,
    /// Key projection.
    pub key: &'static str,
    /// Value projection.
    pub value: &'static str,
    /// Output projection of attention.
    pub output: &'static str,
    /// Norm of the queries.
    pub query_norm: &'static str,
    /// Norm of the keys.
    pub key_norm: &'static str,
    /// Norm behind attention.
    pub attention_output_norm: &'static str,
    /// Norm before the feed-forward layer.
    pub feed_forward_norm: &'static str,
    /// Activated projection of a gated feed-forward layer.
    pub gate: &'static str,
    /// Inward projection of the feed-forward layer.
    pub up: &'static str,
    /// Outward projection of the feed-forward layer.
    pub down: &'static str,
    /// Norm behind the feed-forward layer.
    pub feed_forward_output_norm: &'static str,
    /// Norm after the last block.
    pub norm: &'static str,
    /// BERT's pooler.
    pub pooler: &'static str,
    /// Head of a language model.
    pub head: &'static str,
    /// Head of a classifier.
    pub classifier: &'static str,
}

/// Llama and the families that follow it.
pub static LLAMA: Names = LLAMA_NAMES;

const LLAMA_NAMES: Names = Names {
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
    ..NONE
};

/// Gemma 2 and 3: Llama with norms on both sides.
pub static GEMMA: Names = Names {
    attention_output_norm: "post_attention_layernorm",
    feed_forward_norm: "pre_feedforward_layernorm",
    feed_forward_output_norm: "post_feedforward_layernorm",
    ..LLAMA_NAMES
};

/// GPT-2.
pub static GPT2: Names = Names {
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
    ..NONE
};

/// BERT and its like.
pub static BERT: Names = Names {
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
    pooler: "pooler.dense",
    classifier: "classifier",
    ..NONE
};

const NONE: Names = Names {
    prefix: "",
    embedding: "",
    positions: "",
    token_types: "",
    embedding_norm: "",
    block: "",
    attention_norm: "",
    fused_qkv: "",
    query: "",
    key: "",
    value: "",
    output: "",
    query_norm: "",
    key_norm: "",
    attention_output_norm: "",
    feed_forward_norm: "",
    gate: "",
    up: "",
    down: "",
    feed_forward_output_norm: "",
    norm: "",
    pooler: "",
    head: "",
    classifier: "",
};
