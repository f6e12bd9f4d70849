//! Tokens from a model, one at a time.

use burn::tensor::{DType, Tensor, TensorData};

use super::sample::{Sampling, draw};
use crate::{
    Error, Result, device,
    model::{Architecture, Transformer, transformer::Cache},
    rng::Stream,
};

/// Checks that a model can continue the prompt `ids` `[T]`.
///
/// # Errors
/// An empty prompt, one longer than the model's positions, or a token outside its vocabulary.
pub fn check_prompt(architecture: &Architecture, ids: &[u32]) -> Result<()> {
    let limit = architecture.max_positions;
    if ids.is_empty() {
        return Err(Error::input(
            "the prompt has no tokens; give at least one word (this tokenizer adds no start token)",
        ));
    }
    if ids.len() >= limit {
        return Err(Error::input(format!(
            "the prompt has {} tokens, but the model has only {limit} positions; shorten it",
            ids.len()
        )));
    }
    let vocabulary = architecture.vocab_size;
    if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
        return Err(Error::input(format!(
            "the tokenizer gives token {id}, but the model's vocabulary has only {vocabulary}; tokenizer and model do not \
             belong together"
        )));
    }
    Ok(())
}

/// One sequence being continued. Each call of [`Generation::next`] costs one forward pass of one token.
#[derive(Debug)]
pub struct Generation<'a> {
    transformer: &'a Transformer,
    cache: Cache,
    ids: Vec<u32>,
    /// Tokens of `ids` that the cache has not seen.
    pending: usize,
    sampling: Sampling,
    stop: Vec<u32>,
    stream: Stream,
}

impl<'a> Generation<'a> {
    /// Continues `prompt` `[T]` until one of `stop` is drawn or the model's positions end.
    ///
    /// # Errors
    /// As [`check_prompt`].
    pub fn new(
        transformer: &'a Transformer,
        prompt: &[u32],
        sampling: Sampling,
        stop: &[u32],
        seed: u64,
    ) -> Result<Self> {
        check_prompt(&transformer.architecture, prompt)?;
        Ok(Self {
            transformer,
            cache: Cache::default(),
            ids: prompt.to_vec(),
            pending: prompt.len(),
            sampling,
            stop: stop.to_vec(),
            stream: Stream::new(seed, "generate"),
        })
    }

    /// Whether the model's positions are used up.
    pub fn is_full(&self) -> bool {
        self.ids.len() >= self.transformer.architecture.max_positions
    }

    /// The next token, or `None` at a stop token or when the model's positions are used up.
    ///
    /// # Errors
    /// The device failed.
    pub async fn next(&mut self) -> Result<Option<u32>> {
        if self.is_full() {
            return Ok(None);
        }
        let fresh: Vec<i32> = self.ids[self.ids.len() - self.pending..].iter().map(|&id| id as i32).collect();
        let ids = Tensor::from_data(TensorData::new(fresh, [self.pending]), (self.transformer.device(), DType::I32));
        let logits = device::read(self.transformer.forward_cached(ids, &mut self.cache)).await?;
        let token = draw(&logits, &self.ids, &self.sampling, &mut self.stream);
        if self.stop.contains(&token) {
            return Ok(None);
        }
        self.ids.push(token);
        self.pending = 1;
        Ok(Some(token))
    }
}
