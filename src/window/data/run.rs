//! One run as the window shows it, built from its events.

use std::path::PathBuf;

use super::columns::{Evaluations, Steps};
use crate::event::{DataReport, Ending, Event, Metrics, Started, messages::RunState};

/// The status of a run, as far as the window knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// This window's own run.
    Live(RunState),
    /// Another process trains it.
    OtherProcess,
    /// It is over.
    Over(Ending),
    /// It went wrong.
    Failed(String),
    /// No process trains it, and its record has no end: it was killed, or the machine was switched off.
    Interrupted,
    /// Its record has not been read yet.
    Opening,
    /// An adapter without the record of a run.
    AdapterOnly,
}

impl Status {
    /// The status in one or two words.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Live(RunState::Idle) | Self::Opening => "opening",
            Self::Live(RunState::Preparing { .. }) => "preparing",
            Self::Live(RunState::Running) => "training",
            Self::Live(RunState::Paused) => "paused",
            Self::Live(RunState::Ended) | Self::Over(Ending::Completed) => "done",
            Self::Live(RunState::Failed { .. }) | Self::Failed(_) => "failed",
            Self::Over(Ending::EarlyStop) => "stopped early",
            Self::Over(Ending::Stopped) => "stopped",
            Self::OtherProcess => "training elsewhere",
            Self::Interrupted => "interrupted",
            Self::AdapterOnly => "adapter",
        }
    }

    /// Whether it trains, or is paused and can be resumed.
    pub fn is_under_way(&self) -> bool {
        matches!(
            self,
            Self::OtherProcess | Self::Live(RunState::Preparing { .. } | RunState::Running | RunState::Paused)
        )
    }
}

/// The answers to one prompt over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The prompt.
    pub prompt: String,
    /// Steps done and the text, in order.
    pub texts: Vec<(u64, String)>,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Steps done.
    pub step: u64,
    /// What happened.
    pub text: String,
    /// Whether it is an error.
    pub is_fault: bool,
}

/// A run.
#[derive(Clone, Debug)]
pub struct RunView {
    /// Name in lists and legends.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Whether its curves are drawn.
    pub visible: bool,
    /// Index of its colour in the palette.
    pub color: usize,
    /// Its status.
    pub status: Status,
    /// Model, method and device, once it has started.
    pub started: Option<Started>,
    /// How its data was understood.
    pub data: Option<DataReport>,
    /// Metrics of every step.
    pub steps: Steps,
    /// Metrics of every evaluation.
    pub evaluations: Evaluations,
    /// The latest metrics.
    pub latest: Option<Metrics>,
    /// Lowest validation loss and the step it was reached at.
    pub best: Option<(f64, u64)>,
    /// Most memory that the allocator (on the CPU the process) has held, in bytes.
    pub peak_bytes: u64,
    /// Generated samples by prompt.
    pub samples: Vec<Answers>,
    /// What happened.
    pub log: Vec<LogLine>,
}

impl RunView {
    /// A run without events.
    pub fn new(folder: PathBuf, color: usize) -> Self {
        let name = folder.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
        Self {
            name,
            folder,
            visible: true,
            color,
            status: Status::Opening,
            started: None,
            data: None,
            steps: Steps::default(),
            evaluations: Evaluations::default(),
            latest: None,
            best: None,
            peak_bytes: 0,
            samples: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Forgets all events: the run was started again.
    pub fn reset(&mut self) {
        let Self { name, folder, visible, color, .. } = self;
        *self = Self { name: std::mem::take(name), visible: *visible, ..Self::new(std::mem::take(folder), *color) };
    }

    /// Applies an event of the run.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Started(started) => {
                self.started = Some((**started).clone());
                let resumed =
                    if started.done > 0 { format!(", resumed after step {}", started.done) } else { String::new() };
                let text = format!(
                    "{} on {}: {} of the parameters are trainable; {}{resumed}",
                    started.method,
                    started.model,
                    crate::format::percent(self.trainable_share().unwrap_or(0.0)),
                    started.device
                );
                self.add_log_line(started.done, text, false);
                // A resumed run repeats the steps after its checkpoint.
                self.steps.keep_until(started.done);
                self.evaluations.keep_until(started.done);
                if !matches!(self.status, Status::Live(_)) {
                    self.status = Status::Opening;
                }
            }
            Event::Data { report } => self.data = Some((**report).clone()),
            Event::Step(metrics) => {
                self.steps.push(metrics);
                self.update_latest(metrics);
                if [metrics.loss, metrics.grad_norm].into_iter().flatten().any(|value| !value.is_finite()) {
                    self.add_log_line(
                        metrics.step,
                        "the loss or the gradient norm is not a finite number".into(),
                        true,
                    );
                }
            }
            Event::Evaluated { metrics, best, .. } => self.evaluated(metrics, *best),
            Event::Sample { step, prompt, text } => {
                let at = self.samples.iter().position(|answers| answers.prompt == *prompt).unwrap_or_else(|| {
                    self.samples.push(Answers { prompt: prompt.clone(), texts: Vec::new() });
                    self.samples.len() - 1
                });
                let texts = &mut self.samples[at].texts;
                // After a resume the same step may be sampled again.
                texts.retain(|(earlier, _)| earlier < step);
                texts.push((*step, text.clone()));
            }
            Event::Saved { step, path } => self.add_log_line(*step, format!("checkpoint {path}"), false),
            Event::Finished { ending, step, elapsed_secs, tokens, best_eval } => {
                self.best = best_eval.or(self.best);
                let how = match ending {
                    Ending::Completed => "done",
                    Ending::EarlyStop => "stopped early: the validation loss no longer falls",
                    Ending::Stopped => "stopped",
                };
                let (tokens, time) = (crate::format::count(*tokens as usize), crate::format::seconds(*elapsed_secs));
                self.add_log_line(*step, format!("{how} after {step} steps and {tokens} tokens in {time}"), false);
                self.status = Status::Over(*ending);
            }
            Event::Failed { message } => {
                self.add_log_line(self.step(), message.clone(), true);
                self.status = Status::Failed(message.clone());
            }
        }
    }

    fn evaluated(&mut self, metrics: &Metrics, best: bool) {
        self.evaluations.push(metrics);
        self.update_latest(metrics);
        let Some(loss) = metrics.eval_loss else { return };
        // A record does not mark the best evaluation: it is the lowest after the start.
        let lower = metrics.step > 0 && loss.is_finite() && self.best.is_none_or(|(known, _)| loss < known);
        if best || lower {
            self.best = Some((loss, metrics.step));
        }
        let quality = match metrics.eval_accuracy {
            Some(accuracy) => format!(", accuracy {}", crate::format::percent(accuracy)),
            None => String::new(),
        };
        let mark = if best || lower { ", the best so far" } else { "" };
        self.add_log_line(metrics.step, format!("validation loss {loss:.4}{quality}{mark}"), !loss.is_finite());
    }

    fn update_latest(&mut self, metrics: &Metrics) {
        self.peak_bytes = self.peak_bytes.max(metrics.memory_reserved_bytes);
        self.latest = Some(metrics.clone());
    }

    /// Adds a line to the log.
    pub fn add_log_line(&mut self, step: u64, text: String, is_fault: bool) {
        self.log.push(LogLine { step, text, is_fault });
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        let done = self.started.as_ref().map_or(0, |started| started.done);
        self.latest.as_ref().map_or(done, |metrics| metrics.step.max(done))
    }

    /// Share of the model's parameters that are trainable.
    pub fn trainable_share(&self) -> Option<f64> {
        let started = self.started.as_ref()?;
        Some(started.trained_parameters as f64 / started.total_parameters.max(1) as f64)
    }

    /// Whether it trains a classifier instead of a language model.
    pub fn classifies(&self) -> bool {
        self.evaluations.accuracy.values().iter().any(|value| value.is_finite())
    }
}
