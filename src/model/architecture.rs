//! What a transformer looks like: the sizes and choices that `config.json` decides, as data that the one forward pass reads.

use super::names::{self, Names};
use crate::{Error, Result, kernel::Packing};

pub use crate::kernel::Activation;

/// A transformer, described by value. Every family fills in this one description.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Hugging Face's `model_type`.
    pub model_type: String,
    /// What the checkpoint calls its tensors.
    pub names: &'static Names,
    /// `V`, rows of the embedding table.
    pub vocab_size: usize,
    /// `D`, width of the residual stream.
    pub hidden_size: usize,
    /// `F`, width of the feed-forward layer.
    pub intermediate_size: usize,
    /// `H`, query heads.
    pub heads: usize,
    /// `K`, key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Longest sequence the positions allow.
    pub max_positions: usize,
    /// Kinds of token (first and second text of a pair); 0 where the model does not tell them apart.
    pub token_types: usize,
    /// Factor on the embeddings.
    pub embedding_scale: f64,
    /// Whether the embeddings are normalised before the first block.
    pub embedding_norm: bool,
    /// Whether the hidden states are normalised after the last block.
    pub final_norm: bool,
    /// How activations are normalised.
    pub norm: NormKind,
    /// Added under the root of every norm.
    pub norm_eps: f64,
    /// How a token knows its position.
    pub positions: Positions,
    /// What may differ from block to block; one entry a block.
    pub blocks: Vec<BlockFacts>,
    /// Whether a position sees only those before it.
    pub causal: bool,
    /// Factor on the products of queries and keys.
    pub attention_scale: f64,
    /// Bound of the scaled attention scores, `cap * tanh(score / cap)` (Gemma 2).
    pub attention_softcap: Option<f64>,
    /// The same for the logits of the language-model head.
    pub logit_softcap: Option<f64>,
    /// Whether query, key and value projections are one matrix.
    pub fused_qkv: bool,
    /// Whether the rows of that matrix come head by head (query, key and value of head 0, then those of head 1, ...), not all
    /// queries first; only where there are as many key/value heads as query heads.
    pub qkv_by_head: bool,
    /// Whether the query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether the attention's output projection has a bias.
    pub output_bias: bool,
    /// How queries and keys are normalised before they are rotated.
    pub qk_norm: Option<QkNorm>,
    /// Activation of the feed-forward layer.
    pub activation: Activation,
    /// Whether the feed-forward projections have biases.
    pub mlp_bias: bool,
    /// Whether the weights of blocks are stored `[inputs, outputs]` (GPT-2's Conv1D) instead of `[outputs, inputs]`.
    pub transposed: bool,
    /// Whether the language-model head is the embedding table.
    pub tied_head: bool,
    /// What of a row a classification head reads.
    pub pooling: Pooling,
    /// The layer between that and the classes.
    pub pooler: Option<Pooler>,
    /// Whether the layer that gives the logits of classes has a bias.
    pub classifier_bias: bool,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// The 16-bit type of the checkpoint's matrices, as `config.json` tells it; of a loaded model, that in which they are
    /// kept. `None` is f32.
    pub stored: Option<Packing>,
}

/// How activations are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// RMSNorm (Zhang and Sennrich 2019).
    Rms,
    /// RMSNorm whose stored scale is the scale minus one (Gemma).
    RmsOffset,
    /// LayerNorm with scale and bias (Ba et al. 2016).
    Layer,
    /// LayerNorm with a scale alone.
    LayerWithoutBias,
}

/// Where the norms of a sub-layer `f` (attention or feed-forward) stand: `norm(x + norm(f(norm(x))))` has all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormPlacement {
    /// On the input of the sub-layer.
    pub before: bool,
    /// On the output of the sub-layer, before it is added to the residual.
    pub after: bool,
    /// On the sum of residual and output. A checkpoint has one name for this norm and the one above: no family has both.
    pub after_residual: bool,
}

impl NormPlacement {
    /// None at all.
    pub const NONE: Self = Self { before: false, after: false, after_residual: false };
    /// `x + f(norm(x))`.
    pub const BEFORE: Self = Self { before: true, ..Self::NONE };
    /// `x + norm(f(norm(x)))` (Gemma 2 and 3).
    pub const AROUND: Self = Self { before: true, after: true, ..Self::NONE };
    /// `x + norm(f(x))` (OLMo 2).
    pub const AFTER: Self = Self { after: true, ..Self::NONE };
    /// `norm(x + f(x))` (BERT).
    pub const AFTER_RESIDUAL: Self = Self { after_residual: true, ..Self::NONE };

    /// Whether there is a norm behind the sub-layer.
    pub fn behind(self) -> bool {
        self.after || self.after_residual
    }
}

/// How a token knows its position.
#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// Queries and keys are rotated; a block names one of these by its number, or none.
    Rotary(Vec<Rope>),
    /// A learned row for each position is added to the embeddings.
    Learned,
}

/// What may differ from block to block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockFacts {
    /// A query sees keys that are less than this many positions away, its own included; `None` sees all of them.
    pub window: Option<usize>,
    /// Which of the rotary embeddings it uses; `None` rotates nothing.
    pub rope: Option<usize>,
    /// Norms of attention.
    pub attention_norms: NormPlacement,
    /// Norms of the feed-forward layer.
    pub feed_forward_norms: NormPlacement,
    /// Whether the feed-forward layer reads the input of the block beside attention, `x + attention(x) + feed_forward(x)`,
    /// instead of what attention leaves. Without a norm of its own it then reads what attention reads.
    pub parallel: bool,
    /// The feed-forward layer.
    pub feed_forward: FeedForwardKind,
}

impl BlockFacts {
    /// The block of Llama.
    pub const LLAMA: Self = Self {
        window: None,
        rope: Some(0),
        attention_norms: NormPlacement::BEFORE,
        feed_forward_norms: NormPlacement::BEFORE,
        parallel: false,
        feed_forward: FeedForwardKind::Gated,
    };

    /// The same block with other norms, in the same places of both sub-layers.
    pub const fn with_norms(self, norms: NormPlacement) -> Self {
        Self { attention_norms: norms, feed_forward_norms: norms, ..self }
    }
}

/// A feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedForwardKind {
    /// `down(f(up(x)))`.
    Plain,
    /// `down(f(gate(x)) * up(x))` (Shazeer 2020).
    Gated,
    /// The same with gate and up as one matrix, the rows of the gate first.
    GatedFused,
}

/// How queries and keys are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkNorm {
    /// Each head for itself, with one scale `[head_dim]` for all.
    Head,
    /// All heads of a token together, before they are split.
    Width,
    /// Each head for itself by LayerNorm, with a scale `[head_dim]` of its own and no bias (StableLM).
    OwnScales,
}

/// What of a row a classification head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The hidden state of the last token that is not padding.
    LastToken,
    /// That of the first token.
    FirstToken,
    /// The mean of those of all tokens that are not padding.
    Mean,
}

/// The layer between the pooled hidden state `h` and the classes: `norm(f(W h + b))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pooler {
    /// Whether there is `b`.
    pub bias: bool,
    /// `f`; `None` is tanh.
    pub activation: Option<Activation>,
    /// Whether there is a norm.
    pub norm: bool,
}

/// Rotary position embedding (Su et al. 2021) and its scaling.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of wavelengths.
    pub theta: f64,
    /// Share of each head that is rotated: its first part, of `share * head_dim` rounded down.
    pub share: f64,
    /// How frequencies are stretched for longer contexts.
    pub scaling: RopeScaling,
}

impl Rope {
    /// How many entries of a head of `head_dim` are rotated.
    pub fn rotated(&self, head_dim: usize) -> usize {
        (head_dim as f64 * self.share) as usize
    }
}

/// Scaling of rotary frequencies, as in transformers' `modeling_rope_utils`.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// None.
    Default,
    /// All frequencies divided by a factor (position interpolation).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a smooth ramp between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are low frequencies.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are high frequencies.
        high_freq_factor: f64,
        /// Context length of the pretraining.
        original_context: f64,
    },
}

impl Default for Architecture {
    /// A description without sizes, in which every choice is the plain one: families state what differs.
    fn default() -> Self {
        Self {
            model_type: String::new(),
            names: &names::NONE,
            vocab_size: 0,
            hidden_size: 0,
            intermediate_size: 0,
            heads: 0,
            kv_heads: 0,
            head_dim: 0,
            max_positions: 0,
            token_types: 0,
            embedding_scale: 1.0,
            embedding_norm: false,
            final_norm: true,
            norm: NormKind::Rms,
            norm_eps: 0.0,
            positions: Positions::Learned,
            blocks: Vec::new(),
            causal: true,
            attention_scale: 1.0,
            attention_softcap: None,
            logit_softcap: None,
            fused_qkv: false,
            qkv_by_head: false,
            qkv_bias: false,
            output_bias: false,
            qk_norm: None,
            activation: Activation::Silu,
            mlp_bias: false,
            transposed: false,
            tied_head: true,
            pooling: Pooling::LastToken,
            pooler: None,
            classifier_bias: false,
            initializer_range: 0.02,
            stored: None,
        }
    }
}

impl Architecture {
    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// Heads that do not divide or are more than the width, or a rotated part of a head that cannot be halved.
    pub fn check(self) -> Result<Self> {
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(Error::input(format!(
                "config.json: {} attention heads cannot share {} key/value heads evenly",
                self.heads, self.kv_heads
            )));
        }
        if self.head_dim == 0 {
            return Err(Error::input(format!(
                "config.json: num_attention_heads {} is more than hidden_size {}",
                self.heads, self.hidden_size
            )));
        }
        let Positions::Rotary(ropes) = &self.positions else { return Ok(self) };
        if !self.head_dim.is_multiple_of(2) {
            return Err(Error::input(format!(
                "config.json: the head width {} is odd, rotary positions need an even one",
                self.head_dim
            )));
        }
        if let Some(rope) = ropes.iter().find(|rope| {
            let rotated = rope.rotated(self.head_dim);
            rotated == 0 || rotated > self.head_dim || !rotated.is_multiple_of(2)
        }) {
            return Err(Error::input(format!(
                "config.json: rotary positions on {} of a head of {} rotate {} of its entries, which must be an even number \
                 from 2 to {}",
                rope.share,
                self.head_dim,
                rope.rotated(self.head_dim),
                self.head_dim
            )));
        }
        Ok(self)
    }

    /// Number of blocks.
    pub fn layers(&self) -> usize {
        self.blocks.len()
    }

    /// Whether any block has a sliding window.
    pub fn windowed(&self) -> bool {
        self.blocks.iter().any(|block| block.window.is_some())
    }

    /// Whether the checkpoint of a language model stores a head of its own.
    pub fn has_own_head(&self) -> bool {
        self.causal && !self.tied_head
    }
}
