//! Text from a model, one token at a time.

use burn::tensor::{DType, Tensor, TensorData};

use super::{
    sample::{Sampling, draw},
    transformer::{Cache, Transformer},
};
use crate::{Error, Result, device, rng::Stream};

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
    /// Continues `prompt` until one of `stop` is drawn or the model's positions end.
    ///
    /// # Errors
    /// An empty prompt, one longer than the model's positions, or a token outside its vocabulary.
    pub fn new(
        transformer: &'a Transformer,
        prompt: &[u32],
        sampling: Sampling,
        stop: &[u32],
        seed: u64,
    ) -> Result<Self> {
        let limit = transformer.architecture.max_positions;
        if prompt.is_empty() {
            return Err(Error::input(
                "the prompt has no tokens; give at least one word (this tokenizer adds no start token)",
            ));
        }
        if prompt.len() >= limit {
            return Err(Error::input(format!(
                "the prompt has {} tokens, but the model has only {limit} positions; shorten it",
                prompt.len()
            )));
        }
        let vocabulary = transformer.architecture.vocab_size;
        if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(Error::input(format!(
                "the tokenizer gives token {id}, but the model's vocabulary has only {vocabulary}; tokenizer and model \
                 do not belong together"
            )));
        }
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

    /// The next token, or `None` at a stop token or when the model's positions are used up.
    ///
    /// # Errors
    /// The device failed.
    pub async fn next(&mut self) -> Result<Option<u32>> {
        if self.ids.len() >= self.transformer.architecture.max_positions {
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
