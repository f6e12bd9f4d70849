//! What a transformer looks like: the numbers and choices that `config.json` decides.

use serde_json::Value;

use crate::{Error, Result};

/// A transformer-only transformer, described by value. Every family fills in this one description.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Hugging Face's `model_type`.
    pub model_type: String,
    /// `V`, rows of the embedding table.
    pub vocab_size: usize,
    /// `D`, width of the residual stream.
    pub hidden_size: usize,
    /// `F`, width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub layers: usize,
    /// `H`, query heads.
    pub heads: usize,
    /// `K`, key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Longest sequence the positions allow.
    pub max_positions: usize,
    /// Added under the root of every RMSNorm.
    pub norm_eps: f64,
    /// Activation of the gated feed-forward layer.
    pub activation: Activation,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Whether the query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether the attention's output projection has a bias.
    pub output_bias: bool,
    /// Whether queries and keys are normalised, head by head, before they are rotated.
    pub qk_norm: bool,
    /// How many positions a query sees, its own included; `None` for all before it.
    pub sliding_window: Option<usize>,
    /// Whether the feed-forward projections have biases.
    pub mlp_bias: bool,
    /// Whether the language-model head is the embedding table.
    pub tied_head: bool,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
}

/// Far above any real model: a damaged `config.json` should be refused, not exhaust the memory.
const MOST_LAYERS: usize = 10_000;

/// Activation function of a gated feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)` (SwiGLU).
    Silu,
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

    /// A token id, or the first of a list of them.
    pub fn token(&self, key: &str) -> Option<u32> {
        let value = self.json.get(key)?;
        let value = value.as_array().and_then(|list| list.first()).unwrap_or(value);
        value.as_u64().and_then(|id| u32::try_from(id).ok())
    }

    /// The rotary embedding, in the new form (`rope_parameters`) or the old (`rope_theta`, `rope_scaling`).
    pub fn rope(&self) -> Result<Rope> {
        let nested = |key| self.json.get(key).filter(|value| value.is_object());
        let parameters = nested("rope_parameters").or_else(|| nested("rope_scaling"));
        let Some(parameters) = parameters else {
            return Ok(Rope { theta: self.number_or("rope_theta", 10_000.0)?, scaling: RopeScaling::Default });
        };
        let inner = Fields { json: parameters };
        let theta = inner.number_or("rope_theta", self.number_or("rope_theta", 10_000.0)?)?;
        let kind = inner.text_or("rope_type", &inner.text_or("type", "default")?)?;
        let scaling = match kind.as_str() {
            "default" => RopeScaling::Default,
            "linear" => RopeScaling::Linear { factor: inner.number("factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: inner.number("factor")?,
                low_freq_factor: inner.number("low_freq_factor")?,
                high_freq_factor: inner.number("high_freq_factor")?,
                original_context: inner.number("original_max_position_embeddings")?,
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
    /// Heads that do not divide or are more than the width, too many layers, or a head width that rotary positions
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
        if self.layers > MOST_LAYERS {
            return Err(Error::input(format!(
                "config.json: num_hidden_layers {} is more than the {MOST_LAYERS} that this program accepts",
                self.layers
            )));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(Error::input(format!(
                "config.json: the head width {} is odd, rotary positions need an even one",
                self.head_dim
            )));
        }
        Ok(self)
    }

    /// Number of parameters, by formula.
    pub fn parameters(&self) -> usize {
        let (d, f, q, kv) =
            (self.hidden_size, self.intermediate_size, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut attention = 2 * d * q + 2 * d * kv;
        attention += if self.qkv_bias { q + 2 * kv } else { 0 } + if self.output_bias { d } else { 0 };
        attention += if self.qk_norm { 2 * self.head_dim } else { 0 };
        let mlp = 3 * d * f + if self.mlp_bias { 2 * f + d } else { 0 };
        let tables = self.vocab_size * d * if self.tied_head { 1 } else { 2 };
        tables + self.layers * (attention + mlp + 2 * d) + d
    }
}
