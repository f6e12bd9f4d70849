//! The figures of steps, which stay on the device until a report reads them together.

use burn::tensor::Tensor;

use super::{
    Run,
    stopwatch::{Pace, Stopwatch},
};
use crate::{
    Result,
    device::{self, Memory},
    event::{Event, Metrics},
};

/// A step whose figures are still on the device.
pub(super) struct Queued {
    /// Its number, from 1.
    pub step: u64,
    pub learning_rate: f64,
    pub tokens: u64,
    pub loss: Tensor<1>,
    pub squared_norm: Tensor<1>,
    /// Seconds trained when it was known to be done.
    pub done_at: Option<f64>,
}

/// Notes that the oldest step that was not known to be done is.
pub(super) fn note_done(queued: &mut [Queued], stopwatch: &Stopwatch) {
    if let Some(step) = queued.iter_mut().find(|step| step.done_at.is_none()) {
        step.done_at = Some(stopwatch.seconds());
    }
}

impl Run {
    /// Reads the figures of the queued steps and reports them. `inside` is the memory inside the last of them.
    pub(super) async fn report(&mut self, inside: Memory) -> Result<()> {
        let stopwatch = &self.stopwatch;
        self.in_flight.finish(|| note_done(&mut self.queued, stopwatch)).await?;
        let mut queued = std::mem::take(&mut self.queued);
        let figures = queued.iter().flat_map(|step| [step.loss.clone(), step.squared_norm.clone()]).collect();
        let figures = device::read(Tensor::cat(figures, 0)).await?;
        let after = self.inputs.device.memory();
        self.memory = Memory {
            in_use_bytes: inside.in_use_bytes.max(after.in_use_bytes),
            reserved_bytes: inside.reserved_bytes.max(after.reserved_bytes),
        };

        let now = self.stopwatch.seconds();
        if let Some(last) = queued.last_mut() {
            last.done_at = Some(now);
        }
        let tokens = queued.iter().map(|step| step.tokens).sum();
        self.pace = Pace::of(queued.len(), tokens, now - self.reported_at);
        (self.reported_at, self.progress.elapsed_secs) = (now, now);
        for (step, figures) in queued.iter().zip(figures.chunks(2)) {
            let (loss, norm) = (f64::from(figures[0]), f64::from(figures[1]).sqrt());
            self.progress.tokens += step.tokens;
            let metrics = Metrics {
                loss: Some(loss),
                learning_rate: Some(step.learning_rate),
                grad_norm: Some(norm),
                elapsed_secs: step.done_at.unwrap_or(now),
                ..self.metrics_at(step.step, self.progress.tokens)
            };
            self.emit(Event::Step(metrics))?;
            if !loss.is_finite() || !norm.is_finite() {
                let what = if loss.is_finite() { "gradient norm" } else { "loss" };
                return Err(self.not_finite(step.step, what, if loss.is_finite() { norm } else { loss }));
            }
        }
        self.listen();
        Ok(())
    }

    pub(super) fn metrics_at(&self, step: u64, tokens: u64) -> Metrics {
        Metrics {
            step,
            tokens,
            tokens_per_sec: self.pace.tokens_per_sec,
            elapsed_secs: self.progress.elapsed_secs,
            remaining_secs: self.pace.secs_per_step * self.schedule.steps.saturating_sub(step) as f64,
            memory_in_use_bytes: self.memory.in_use_bytes,
            memory_reserved_bytes: self.memory.reserved_bytes,
            ..Metrics::default()
        }
    }
}
