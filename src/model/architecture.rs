//! What a transformer looks like: the numbers and choices that `config.json` decides.

use serde_json::Value;

use super::names::Names;
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
    /// Whether the embeddings are normalised before the first block, and nothing after the last (BERT).
    pub embedding_norm: bool,
    /// How activations are normalised.
    pub norm: NormKind,
    /// Added under the root of every norm.
    pub norm_eps: f64,
    /// Where the norms of a block stand.
    pub placement: NormPlacement,
    /// How a token knows its position.
    pub positions: Positions,
    /// What differs from block to block; one entry a block.
    pub blocks: Vec<BlockKind>,
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
    /// Whether the query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether the attention's output projection has a bias.
    pub output_bias: bool,
    /// Whether queries and keys are normalised, head by head, before they are rotated.
    pub qk_norm: bool,
    /// Activation of the feed-forward layer.
    pub activation: Activation,
    /// Whether the feed-forward layer multiplies the activation with a second projection (GLU).
    pub gated: bool,
    /// Whether the feed-forward projections have biases.
    pub mlp_bias: bool,
    /// Whether the weights of blocks are stored `[inputs, outputs]` (GPT-2's Conv1D) instead of `[outputs, inputs]`.
    pub transposed: bool,
    /// Whether the language-model head is the embedding table.
    pub tied_head: bool,
    /// What of a row a classification head reads.
    pub pooling: Pooling,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// The 16-bit type of the checkpoint's matrices, as `config.json` tells it; of a loaded model, that in which they are
    /// kept. `None` is f32.
    pub stored: Option<Packing>,
}

/// Far above any real model: a damaged `config.json` should be refused, not exhaust the memory.
const MOST_LAYERS: usize = 10_000;

/// How activations are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// RMSNorm (Zhang and Sennrich 2019).
    Rms,
    /// RMSNorm whose stored scale is the scale minus one (Gemma).
    RmsOffset,
    /// LayerNorm with scale and bias (Ba et al. 2016).
    Layer,
}

/// Where the norms of a block stand; `f` is its attention or its feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlacement {
    /// `x + f(norm(x))`.
    Before,
    /// `x + norm(f(norm(x)))` (Gemma 2 and 3).
    Around,
    /// `norm(x + f(x))` (BERT).
    After,
}

/// How a token knows its position.
#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// Queries and keys are rotated; a block names one of these by its number.
    Rotary(Vec<Rope>),
    /// A learned row for each position is added to the embeddings.
    Learned,
}

/// What differs from block to block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockKind {
    /// How many positions a query sees, its own included; `None` for all that causality leaves.
    pub window: Option<usize>,
    /// Which of the rotary embeddings it uses.
    pub rope: usize,
}

/// What of a row a classification head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The hidden state of the last token that is not padding.
    LastToken,
    /// `tanh(W h + b)` of the first token's hidden state `h` (BERT's pooler).
    FirstToken,
}

/// Rotary position embedding (Su et al. 2021) and its scaling.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of wavelengths.
    pub theta: f64,
    /// How frequencies are stretched for longer contexts.
    pub scaling: RopeScaling,
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

/// Reads fields of `config.json` with errors that name the field.
pub struct Fields<'a> {
    /// The parsed file.
    pub json: &'a Value,
}

impl Fields<'_> {
    /// A required positive integer.
    pub fn size(&self, key: &str) -> Result<usize> {
        self.size_or(key, None)
    }

    /// A positive integer with a default for a missing or null field.
    pub fn size_or(&self, key: &str, default: Option<usize>) -> Result<usize> {
        match (self.json.get(key), default) {
            (None | Some(Value::Null), Some(default)) => Ok(default),
            (None | Some(Value::Null), None) => {
                Err(Error::input(format!("config.json: the field \"{key}\" is missing")))
            }
            (Some(value), _) => match value.as_u64() {
                Some(number) if number > 0 && number < 1 << 32 => Ok(number as usize),
                _ => Err(Error::input(format!("config.json: \"{key}\" is {value} but must be a positive integer"))),
            },
        }
    }

    /// A number with a default.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value
                .as_f64()
                .ok_or_else(|| Error::input(format!("config.json: \"{key}\" is {value} but must be a number"))),
        }
    }

    /// A required number.
    pub fn number(&self, key: &str) -> Result<f64> {
        match self.json.get(key) {
            None | Some(Value::Null) => Err(Error::input(format!("config.json: the field \"{key}\" is missing"))),
            Some(_) => self.number_or(key, 0.0),
        }
    }

    /// Whether a field is there and says null: a feature that is switched off, not left at its default.
    pub fn is_null(&self, key: &str) -> bool {
        self.json.get(key).is_some_and(Value::is_null)
    }

    /// A truth value with a default.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| Error::input(format!("config.json: \"{key}\" is {value} but must be true or false"))),
        }
    }

    /// A text with a default.
    pub fn text_or(&self, key: &str, default: &str) -> Result<String> {
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(default.to_owned()),
            Some(value) => value
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| Error::input(format!("config.json: \"{key}\" is {value} but must be a text"))),
        }
    }

    /// The 16-bit type of the checkpoint, if it says that it has one.
    pub fn stored(&self) -> Option<Packing> {
        let said = self.json.get("dtype").or_else(|| self.json.get("torch_dtype"));
        match said.and_then(Value::as_str) {
            Some("bfloat16") => Some(Packing::Bf16),
            Some("float16") => Some(Packing::F16),
            _ => None,
        }
    }

    /// A token id, or the first of a list of them.
    pub fn token(&self, key: &str) -> Option<u32> {
        let value = self.json.get(key)?;
        let value = value.as_array().and_then(|list| list.first()).unwrap_or(value);
        value.as_u64().and_then(|id| u32::try_from(id).ok())
    }

    /// The number of blocks.
    pub fn layers(&self, key: &str) -> Result<usize> {
        match self.size(key)? {
            layers if layers > MOST_LAYERS => Err(Error::input(format!(
                "config.json: {key} {layers} is more than the {MOST_LAYERS} that this program accepts"
            ))),
            layers => Ok(layers),
        }
    }

    /// Which blocks have a sliding window: `layer_types`, or what `by_default` says of each block's number.
    pub fn sliding_layers(&self, layers: usize, by_default: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
        let Some(types) = self.json.get("layer_types").filter(|types| !types.is_null()) else {
            return Ok((0..layers).map(by_default).collect());
        };
        let kinds = types.as_array().filter(|types| types.len() == layers).and_then(|types| {
            let kind = |value: &Value| match value.as_str() {
                Some("sliding_attention") => Some(true),
                Some("full_attention") => Some(false),
                _ => None,
            };
            types.iter().map(kind).collect::<Option<Vec<bool>>>()
        });
        kinds.ok_or_else(|| {
            Error::input(format!(
                "config.json: layer_types must list sliding_attention or full_attention for each of the {layers} layers"
            ))
        })
    }

    /// The activation function named by `key`.
    pub fn activation(&self, key: &str, default: &str) -> Result<Activation> {
        match self.text_or(key, default)?.as_str() {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            other => Err(Error::input(format!(
                "config.json: {key} \"{other}\" is not supported; supported are silu, gelu, gelu_new and \
                 gelu_pytorch_tanh"
            ))),
        }
    }

    /// The rotary embedding, in the new form (`rope_parameters`) or the old (`rope_theta`, `rope_scaling`).
    pub fn rope(&self) -> Result<Rope> {
        self.rope_with_base(10_000.0)
    }

    /// The same with another default of the base.
    pub fn rope_with_base(&self, base: f64) -> Result<Rope> {
        let nested = |key| self.json.get(key).filter(|value| value.is_object());
        let parameters = nested("rope_parameters").or_else(|| nested("rope_scaling"));
        let theta = self.number_or("rope_theta", base)?;
        match parameters {
            Some(parameters) => Fields { json: parameters }.scaled_rope(theta),
            None => Ok(Rope { theta, scaling: RopeScaling::Default }),
        }
    }

    /// The rotary embedding that the object itself describes; `theta` is the default of its base.
    pub fn scaled_rope(&self, theta: f64) -> Result<Rope> {
        let theta = self.number_or("rope_theta", theta)?;
        let kind = self.text_or("rope_type", &self.text_or("type", "default")?)?;
        let scaling = match kind.as_str() {
            "default" => RopeScaling::Default,
            "linear" => RopeScaling::Linear { factor: self.number("factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: self.number("factor")?,
                low_freq_factor: self.number("low_freq_factor")?,
                high_freq_factor: self.number("high_freq_factor")?,
                original_context: self.number("original_max_position_embeddings")?,
            },
            other => {
                return Err(Error::input(format!(
                    "config.json: rotary scaling \"{other}\" is not supported; supported are default, linear and llama3"
                )));
            }
        };
        Ok(Rope { theta, scaling })
    }
}

impl Architecture {
    /// Checks that the numbers fit together.
    ///
    /// # Errors
    /// Heads that do not divide or are more than the width, or a head width that rotary positions
    /// cannot halve.
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
        if matches!(self.positions, Positions::Rotary(_)) && !self.head_dim.is_multiple_of(2) {
            return Err(Error::input(format!(
                "config.json: the head width {} is odd, rotary positions need an even one",
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

    /// Number of parameters of a language model (of an encoder: without its classification head), by formula.
    pub fn parameters(&self) -> usize {
        let (d, f, q, kv) =
            (self.hidden_size, self.intermediate_size, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let flag = |on: bool, count: usize| if on { count } else { 0 };
        let norm = if self.norm == NormKind::Layer { 2 * d } else { d };
        let attention = 2 * d * q
            + 2 * d * kv
            + flag(self.qkv_bias, q + 2 * kv)
            + flag(self.output_bias, d)
            + flag(self.qk_norm, 2 * self.head_dim);
        let inward = if self.gated { 2 } else { 1 };
        let mlp = (inward + 1) * d * f + flag(self.mlp_bias, inward * f + d);
        let norms = if self.placement == NormPlacement::Around { 4 } else { 2 };
        let tables = self.vocab_size * d
            + flag(self.positions == Positions::Learned, self.max_positions * d)
            + self.token_types * d
            + flag(self.has_own_head(), self.vocab_size * d)
            + flag(self.pooling == Pooling::FirstToken, d * d + d);
        tables + self.layers() * (attention + mlp + norms * norm) + norm
    }
}
