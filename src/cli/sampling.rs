//! How the next token is drawn and when a text ends: the flags that `generate` and `chat` share.

use clap::Args;

use crate::{Error, Result, generate::Sampling};

/// Flags of drawing.
#[derive(Clone, Debug, Args)]
pub(super) struct SamplingArgs {
    /// Most tokens to generate
    #[arg(long, alias = "max-new-tokens", default_value_t = 256)]
    pub max_tokens: usize,
    /// 0 takes the most likely token each time
    #[arg(long, allow_negative_numbers = true, alias = "temp", default_value_t = 0.0)]
    temperature: f32,
    /// Draw among the k most likely tokens only; 0 = all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Draw among the most likely tokens that together reach this probability
    #[arg(long, allow_negative_numbers = true, default_value_t = 1.0)]
    top_p: f32,
    /// Above 1: makes tokens that were there already less likely
    #[arg(long, allow_negative_numbers = true, default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Seed of the draw
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl SamplingArgs {
    /// The checked settings.
    pub(super) fn sampling(&self) -> Result<Sampling> {
        if !(0.0..=1.0).contains(&self.top_p) || self.top_p == 0.0 {
            return Err(Error::input(format!("--top-p {}: it must be above 0 and at most 1", self.top_p)));
        }
        if !self.temperature.is_finite() || self.temperature < 0.0 {
            return Err(Error::input(format!("--temperature {}: it must not be negative", self.temperature)));
        }
        if !self.repetition_penalty.is_finite() || self.repetition_penalty <= 0.0 {
            return Err(Error::input(format!("--repetition-penalty {}: it must be positive", self.repetition_penalty)));
        }
        Ok(Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            repetition_penalty: self.repetition_penalty,
        })
    }
}
