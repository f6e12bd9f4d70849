//! A run in the terminal: a loop over its events that draws a progress bar, plain lines, JSON Lines, or nothing.

use std::{
    io::{IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::format::{bytes, count, percent, seconds};
use crate::{
    Error, Result,
    event::{Command, Ending, Event, Metrics, Started},
    session::{Commands, Session, Update, sleep},
    source::{Report, silent, to_stderr},
};

/// How much is reported.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct Verbosity {
    /// Tell nothing but errors
    #[arg(long, conflicts_with = "json")]
    pub quiet: bool,
    /// Write the events as JSON Lines to standard output
    #[arg(long)]
    pub json: bool,
}

impl Verbosity {
    /// Where the progress of a launch is reported.
    pub(super) fn report(self) -> Report<'static> {
        if self.quiet || self.json { &silent } else { &to_stderr }
    }
}

/// Ctrl-C as the only command.
struct StopFlag<'a> {
    stop: &'a AtomicBool,
    received: bool,
}

impl Commands for StopFlag<'_> {
    async fn within(&mut self, time: Duration) -> Option<Command> {
        if self.stop.load(Ordering::Relaxed) && !self.received {
            self.received = true;
            return Some(Command::Stop);
        }
        sleep(time).await;
        None
    }
}

/// Draws events.
pub(super) struct Terminal {
    verbosity: Verbosity,
    bar: Option<ProgressBar>,
    steps: u64,
    /// Whether the data report is shown.
    pub show_data: bool,
    /// Whether samples are shown.
    pub show_samples: bool,
}

impl Terminal {
    pub(super) fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, bar: None, steps: 0, show_data: true, show_samples: true }
    }

    /// Polls a session to its end, drawing every event and handing it to `also`.
    pub(super) async fn follow(
        &mut self,
        session: &mut Session,
        stop: &AtomicBool,
        also: impl FnMut(&Event),
    ) -> Result<Ending> {
        let ending = self.poll(session, &mut StopFlag { stop, received: false }, also).await;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        ending
    }

    async fn poll(
        &mut self,
        session: &mut Session,
        commands: &mut StopFlag<'_>,
        mut also: impl FnMut(&Event),
    ) -> Result<Ending> {
        let mut ending = Ending::Stopped;
        while let Some(update) = session.next(commands).await? {
            match update {
                Update::Event(event) => {
                    if let Event::Finished { ending: how, .. } = &event {
                        ending = *how;
                    }
                    also(&event);
                    self.draw(&event)?;
                }
                Update::Received(_) => {
                    self.line("stopping: the step is finished and saved (once more to leave at once)");
                }
                Update::Paused => self.line("paused by another process, which can resume it"),
                Update::Running => {}
            }
        }
        Ok(ending)
    }

    /// A line above the progress bar.
    pub(super) fn line(&self, text: &str) {
        if self.verbosity.quiet || self.verbosity.json {
            return;
        }
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    fn draw(&mut self, event: &Event) -> Result<()> {
        if self.verbosity.json {
            let line = serde_json::to_string(event).map_err(|e| Error::Run(format!("event: {e}")))?;
            let mut out = std::io::stdout().lock();
            return writeln!(out, "{line}").map_err(|e| Error::Run(format!("cannot write to standard output: {e}")));
        }
        match event {
            Event::Started(started) => self.started(started),
            Event::Data { report } if self.show_data => {
                report.lines().iter().for_each(|line| self.line(line));
            }
            Event::Step(metrics) => self.step(metrics),
            Event::Evaluated { metrics, perplexity, best } => {
                let loss = metrics.eval_loss.unwrap_or(f64::NAN);
                let mark = if *best { "  best so far" } else { "" };
                let quality = match metrics.eval_accuracy {
                    Some(accuracy) => format!("accuracy {}", percent(accuracy)),
                    None => format!("perplexity {perplexity:.2}"),
                };
                self.line(&format!("step {:>6}  validation loss {loss:.4}  {quality}{mark}", metrics.step));
            }
            Event::Sample { step, prompt, text } if self.show_samples => {
                self.line(&format!("step {step:>6}  {}⟦{}⟧", prompt.trim(), text.trim_end()));
            }
            Event::Saved { step, path } => self.line(&format!("step {step:>6}  checkpoint {path}")),
            Event::Finished { ending, step, best_eval, elapsed_secs, tokens } => {
                let how = match ending {
                    Ending::Completed => "done",
                    Ending::EarlyStop => "stopped early: the validation loss no longer falls",
                    Ending::Stopped => "stopped; continue with --resume",
                };
                let best = best_eval
                    .map_or_else(String::new, |(loss, at)| format!(", best validation loss {loss:.4} at step {at}"));
                let tokens = count(*tokens as usize);
                self.line(&format!("{how}: {step} steps, {tokens} tokens in {}{best}", seconds(*elapsed_secs)));
            }
            _ => {}
        }
        Ok(())
    }

    fn started(&mut self, started: &Started) {
        self.steps = started.steps;
        self.line(&format!("device   {}", started.device));
        self.line(&format!("model    {}, {} parameters", started.model, count(started.total_parameters)));
        self.line(&format!(
            "method   {}, {} trained ({}) in {} tensors, learning rate {:e}",
            started.method,
            count(started.trained_parameters),
            percent(started.trained_parameters as f64 / started.total_parameters as f64),
            started.trained.len(),
            started.learning_rate
        ));
        if let Some(choice) = &started.memory_choice {
            self.line(&format!("memory   {choice}"));
        }
        if started.done > 0 {
            self.line(&format!("resumed  after step {}", started.done));
        }
        if !self.verbosity.quiet && std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{bar:28} {pos}/{len}  {msg}").expect("a valid template");
            let bar = ProgressBar::new(started.steps).with_style(style.progress_chars("━╸ "));
            bar.set_position(started.done);
            self.bar = Some(bar);
        }
    }

    fn step(&mut self, m: &Metrics) {
        let figures = format!(
            "loss {:.4}  lr {:.2e}  {} tok/s  {}  {} left",
            m.loss.unwrap_or(f64::NAN),
            m.learning_rate.unwrap_or(0.0),
            count(m.tokens_per_sec as usize),
            format_args!("{} held", bytes(m.memory_reserved_bytes)),
            seconds(m.remaining_secs)
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(m.step);
                bar.set_message(figures);
            }
            // Plain lines: about a hundred over a run, not one a step.
            None if m.step == 1 || m.step == self.steps || m.step.is_multiple_of((self.steps / 100).max(10)) => {
                self.line(&format!(
                    "step {:>6}/{}  {figures}  grad {:.3}",
                    m.step,
                    self.steps,
                    m.grad_norm.unwrap_or(0.0)
                ));
            }
            None => {}
        }
    }
}
