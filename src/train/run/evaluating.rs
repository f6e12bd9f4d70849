//! How a run is evaluated: the validation loss, and what the model writes behind prompts.

use super::Run;
use crate::{
    Result,
    event::{Event, Metrics},
    generate::{TextSettings, TextStream},
    train::{Inputs, evaluate::evaluate},
};

impl Run {
    /// Evaluates the validation set and makes samples; true if the run should stop early.
    pub(super) async fn evaluate(&mut self) -> Result<bool> {
        let step = self.progress.step;
        self.progress.evaluated = Some(step);
        let mut stop_early = false;
        if let Some(valid) = &self.inputs.dataset.valid {
            let base = &self.inputs.base;
            let (size, most) = (self.config.batch_size, self.config.eval_batches);
            let result = evaluate(base, valid, size, most, &self.inputs.device).await?;
            let finite = result.loss.is_finite();
            let best = finite && step > 0 && self.progress.best_eval.is_none_or(|(loss, _)| result.loss < loss);
            if best {
                self.progress.best_eval = Some((result.loss, step));
                self.progress.evals_since_best = 0;
                self.write_adapter().await?;
            } else if finite && step > 0 {
                self.progress.evals_since_best += 1;
                stop_early = self.config.patience > 0 && self.progress.evals_since_best >= self.config.patience;
            }
            let metrics = Metrics {
                eval_loss: Some(result.loss),
                eval_accuracy: result.classification.map(|figures| figures.accuracy),
                ..self.metrics_at(step, self.progress.tokens)
            };
            self.emit(Event::Evaluated { metrics, perplexity: result.perplexity, best })?;
            if !finite {
                return Err(self.not_finite(step, "validation loss", result.loss));
            }
        }
        for prompt in self.config.sample_prompts.0.clone() {
            let text = self.sample(&prompt).await?;
            self.emit(Event::Sample { step, prompt, text })?;
        }
        Ok(stop_early)
    }

    async fn sample(&self, prompt: &str) -> Result<String> {
        let Inputs { base, tokenizer, .. } = &self.inputs;
        let ids = tokenizer.encode(prompt, true)?;
        let (max_tokens, seed) = (self.config.sample_tokens, self.config.seed);
        let settings = TextSettings { max_tokens, seed, ..TextSettings::default() };
        TextStream::new(&base.transformer, tokenizer, &ids, settings)?.whole().await
    }
}
