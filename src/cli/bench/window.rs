//! `agoge bench window`: what the live window costs. It opens on the screen, and closes by itself.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use serde_json::json;

use crate::{
    Error, Result,
    cli::window::connect,
    config::{Prompts, RunConfig},
    demo,
    device::DeviceChoice,
    event::{
        Event,
        messages::{Reply, Request, RunState, Setup},
    },
    window::{Options, benchmark},
    workers::Workers,
};

/// Arguments of `agoge bench window`.
#[derive(Debug, Args)]
pub(super) struct Window {
    /// Runs in the charts
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Steps of each of them
    #[arg(long, default_value_t = 100_000)]
    points: usize,
    /// Frames that are measured
    #[arg(long, default_value_t = 200)]
    frames: usize,
    /// Steps of the demo, trained with and without the window
    #[arg(long, default_value_t = 300)]
    steps: u64,
    /// How often each of the two is repeated, in turn
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Device of the demo
    #[arg(long, default_value_t)]
    device: DeviceChoice,
    /// Write the figures as JSON
    #[arg(long)]
    json: bool,
}

impl Window {
    pub(super) fn run(self) -> Result<ExitCode> {
        let seen = benchmark::measure_frames(self.runs, self.points, self.frames)?;
        let (cost, between) = (Quantiles::of(seen.frame_secs), Quantiles::of(seen.between_secs));
        let (mut alone, mut watched) = (Vec::new(), Vec::new());
        for _ in 0..self.repeats {
            alone.push(self.headless()?);
            watched.push(self.windowed()?);
        }
        let (alone, watched) = (Quantiles::of(alone), Quantiles::of(watched));
        let ratio = watched.median / alone.median;
        if self.json {
            let facts = json!({
                "runs": self.runs, "points": self.points, "frame_ms": cost.millis(), "between_frames_ms": between.millis(),
                "steps": self.steps, "headless_secs": alone.median, "window_secs": watched.median, "ratio": ratio,
            });
            println!("{facts:#}");
            return Ok(ExitCode::SUCCESS);
        }
        println!("{} runs of {} steps in every chart, {} frames", self.runs, self.points, self.frames);
        println!("  a frame costs the window's thread  {}", cost.line());
        println!("  from one frame to the next         {}", between.line());
        println!("{} steps of the demo, median of {}", self.steps, self.repeats);
        println!("  headless {:.2} s, with the window {:.2} s: ratio {ratio:.3}", alone.median, watched.median);
        Ok(ExitCode::SUCCESS)
    }

    fn setup(&self) -> Setup {
        let config = RunConfig {
            steps: self.steps,
            device: self.device.clone(),
            eval_steps: 0,
            sample_prompts: Prompts(Vec::new()),
            ..demo::config()
        };
        Setup { config, demo: true, resume: false, overwrite: false }
    }

    /// Time trained, without a window.
    fn headless(&self) -> Result<f64> {
        let workers = Workers::start(|| {});
        workers.send(Request::Start { setup: Box::new(self.setup()) });
        let mut secs = None;
        loop {
            match workers.receive_within(Duration::from_secs(600)) {
                Some(Reply::Event { event }) => {
                    if let Event::Finished { elapsed_secs, .. } = *event {
                        secs = Some(elapsed_secs);
                    }
                }
                Some(Reply::State { state: RunState::Ended }) => break,
                Some(Reply::State { state: RunState::Failed { message } }) => return Err(Error::Run(message)),
                Some(_) => {}
                None => return Err(Error::Run("the demo does not end".into())),
            }
        }
        secs.ok_or_else(|| Error::Run("the demo did not say how long it took".into()))
    }

    /// Time trained, under the eyes of the window.
    fn windowed(&self) -> Result<f64> {
        let options = Options { demo: demo::config(), start: Some(self.setup()), ..Options::default() };
        let (_workers, line) = connect();
        let seen = benchmark::measure_run(options, line)?;
        seen.trained_secs.ok_or_else(|| Error::Run("the window has heard nothing of the run".into()))
    }
}

/// Of seconds.
struct Quantiles {
    median: f64,
    high: f64,
    worst: f64,
}

impl Quantiles {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at =
            |share: f64| values.get(((values.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(f64::NAN);
        Self { median: at(0.5), high: at(0.95), worst: at(1.0) }
    }

    fn millis(&self) -> [f64; 3] {
        [self.median, self.high, self.worst].map(|secs| 1e3 * secs)
    }

    fn line(&self) -> String {
        let [median, high, worst] = self.millis();
        format!("median {median:.1} ms, 95th percentile {high:.1} ms, worst {worst:.1} ms")
    }
}
