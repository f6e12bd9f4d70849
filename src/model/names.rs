//! What checkpoints call their tensors: one table a family, in its file.

/// Names of a checkpoint's tensors without `.weight` and `.bias`. Those of a block stand behind `block` and its number.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// In front of all names but those of the heads, which are whole. Checkpoints of headless models lack it.
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
    /// Both inward projections of a gated feed-forward layer in one.
    pub gate_up: &'static str,
    /// Outward projection of the feed-forward layer.
    pub down: &'static str,
    /// Norm behind the feed-forward layer.
    pub feed_forward_output_norm: &'static str,
    /// Norm after the last block.
    pub norm: &'static str,
    /// Layer between the pooled hidden state and the classes, whole.
    pub pooler: &'static str,
    /// Norm behind it, whole.
    pub pooler_norm: &'static str,
    /// Head of a language model.
    pub head: &'static str,
    /// Head of a classifier.
    pub classifier: &'static str,
}

/// No name at all: families state those that they have.
pub const NONE: Names = Names {
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
    gate_up: "",
    down: "",
    feed_forward_output_norm: "",
    norm: "",
    pooler: "",
    pooler_norm: "",
    head: "",
    classifier: "",
};
