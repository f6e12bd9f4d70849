//! Text from models: tokens drawn one at a time ([`Generation`], [`Sampling`]) and the text they become ([`TextStream`]).

mod sample;
mod tokens;

use crate::{
    Result,
    data::{StreamDecoder, Tokenizer},
    model::Transformer,
};

pub use sample::{Sampling, draw};
pub use tokens::{Generation, check_prompt};

/// How a text is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TextSettings {
    /// How its tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens.
    pub max_tokens: usize,
    /// Seed of the draw.
    pub seed: u64,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEnd {
    /// The model ended it, by a stop token.
    Model,
    /// It has as many tokens as were allowed.
    MaxTokens,
    /// The model's positions are used up.
    Positions,
    /// It was interrupted.
    Interrupted,
}

/// A text as it comes, after a prompt.
pub struct TextStream<'a> {
    generation: Generation<'a>,
    decoder: StreamDecoder<'a>,
    tokenizer: &'a Tokenizer,
    max_tokens: usize,
    ids: Vec<u32>,
    end: Option<TextEnd>,
    finished: bool,
}

impl<'a> TextStream<'a> {
    /// Continues `prompt` `[T]` until a stop token of the tokenizer.
    ///
    /// # Errors
    /// As [`check_prompt`].
    pub fn new(
        transformer: &'a Transformer,
        tokenizer: &'a Tokenizer,
        prompt: &[u32],
        settings: TextSettings,
    ) -> Result<Self> {
        let TextSettings { sampling, max_tokens, seed } = settings;
        let generation = Generation::new(transformer, prompt, sampling, tokenizer.eos_ids(), seed)?;
        let decoder = StreamDecoder::new(tokenizer, prompt, true);
        Ok(Self { generation, decoder, tokenizer, max_tokens, ids: Vec::new(), end: None, finished: false })
    }

    /// Draws one token and gives the text that has become whole by it, which may be empty; at the end first what was held
    /// back, then `None`. Where `interrupted`, no more tokens are drawn.
    ///
    /// # Errors
    /// The device or the tokenizer's decoder failed.
    pub async fn next(&mut self, interrupted: impl Fn() -> bool) -> Result<Option<String>> {
        if self.finished {
            return Ok(None);
        }
        match self.token(interrupted).await? {
            Some(id) => Ok(Some(self.decoder.push(id)?.unwrap_or_default())),
            None => {
                self.finished = true;
                Ok(Some(self.decoder.finish()?.unwrap_or_default()))
            }
        }
    }

    /// The whole text at once.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn whole(mut self) -> Result<String> {
        while self.token(|| false).await?.is_some() {}
        self.tokenizer.decode(&self.ids, true)
    }

    async fn token(&mut self, interrupted: impl Fn() -> bool) -> Result<Option<u32>> {
        let end = if interrupted() {
            TextEnd::Interrupted
        } else if self.generation.is_full() {
            TextEnd::Positions
        } else if self.ids.len() >= self.max_tokens {
            TextEnd::MaxTokens
        } else if let Some(id) = self.generation.next().await? {
            self.ids.push(id);
            return Ok(Some(id));
        } else {
            TextEnd::Model
        };
        self.end = Some(end);
        Ok(None)
    }

    /// Tokens drawn so far.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Why it ended; `None` while it has not.
    pub fn end(&self) -> Option<TextEnd> {
        self.end
    }
}
