//! Benchmarks of the window: the time of a frame with many points, and of a run that the window shows.

use std::{
    cell::RefCell,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use eframe::egui::{Ui, ViewportCommand};
use web_time::Instant;

use super::{
    app::App,
    link::{Link, Wake},
    open::show,
    options::Options,
};
use crate::{
    Error, Result,
    event::{Event, Metrics, Started, messages::Reply},
};

/// Frames that are drawn before the measured ones.
const WARM_UP: usize = 20;

/// What a benchmark has measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Time that each frame took on the window's thread (layout, tessellation, submission), in seconds.
    pub frame_secs: Vec<f64>,
    /// From one frame to the next, in seconds; waiting for the screen included.
    pub between_secs: Vec<f64>,
    /// Time that the first run in the list was trained, in seconds.
    pub trained_secs: Option<f64>,
}

/// When a benchmark closes its window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// After so many frames, drawn one after the other.
    Frames(usize),
    /// When the first run in the list is over; frames are drawn as needed.
    RunIsOver,
}

struct Benchmark {
    app: App,
    until: Until,
    /// Rows that the runs must have before anything is measured.
    rows: usize,
    drawn: usize,
    last: Option<Instant>,
    measured: Arc<Mutex<Measured>>,
}

impl eframe::App for Benchmark {
    fn logic(&mut self, ctx: &eframe::egui::Context, frame: &mut eframe::Frame) {
        self.app.logic(ctx, frame);
    }

    fn ui(&mut self, ui: &mut Ui, frame: &mut eframe::Frame) {
        self.app.ui(ui, frame);
        let now = Instant::now();
        let runs = self.app.runs();
        let is_loaded = !runs.is_empty() && runs.iter().all(|run| run.steps.positions.len() >= self.rows);
        let over = match self.until {
            Until::Frames(frames) => {
                ui.ctx().request_repaint();
                self.drawn += usize::from(is_loaded);
                self.drawn > WARM_UP + frames
            }
            Until::RunIsOver => runs.first().is_some_and(|run| run.step() > 0 && !run.status.is_under_way()),
        };
        if let Ok(mut measured) = self.measured.lock() {
            if let (Until::Frames(_), true, Some(last)) = (self.until, self.drawn > WARM_UP, self.last) {
                measured.frame_secs.extend(frame.info().cpu_usage.map(f64::from));
                measured.between_secs.push((now - last).as_secs_f64());
            }
            measured.trained_secs = runs.first().and_then(|run| Some(run.latest.as_ref()?.elapsed_secs));
        }
        self.last = Some(now);
        if over {
            ui.ctx().send_viewport_cmd(ViewportCommand::Close);
        }
    }
}

fn measure(options: Options, connect: impl FnOnce(Wake) -> Link, until: Until, rows: usize) -> Result<Measured> {
    let measured = Arc::<Mutex<Measured>>::default();
    let shared = measured.clone();
    // The saved state of the person's own window stays as it is.
    let state = tempfile::NamedTempFile::new().map_err(|e| Error::file("create", &std::env::temp_dir(), e))?;
    show(options, connect, Some(state.path().to_path_buf()), move |app| {
        Box::new(Benchmark { app, until, rows, drawn: 0, last: None, measured: shared })
    })?;
    let measured = measured.lock().map(|measured| measured.clone()).unwrap_or_default();
    Ok(measured)
}

/// Measures `frames` frames of `runs` runs with `points` steps each, one after the other.
///
/// # Errors
/// As [`open`](super::open::open).
pub fn measure_frames(runs: usize, points: usize, frames: usize) -> Result<Measured> {
    let folder = |run: usize| PathBuf::from(format!("runs/{run}"));
    let options = Options { watch: (0..runs).map(folder).collect(), ..Options::default() };
    let progress = RefCell::new((0, 0));
    let receive = move || {
        let (run, step) = &mut *progress.borrow_mut();
        if *run == runs {
            return None;
        }
        let to = (*step + 2000).min(points);
        let mut events = if *step == 0 { vec![Event::Started(Box::new(started(points)))] } else { Vec::new() };
        events.extend((*step..to).map(|at| Event::Step(metrics(*run, at, points))));
        let reply = Reply::Watched { folder: folder(*run), events, anew: false, running: true, problem: None };
        *step = to;
        if to == points {
            (*run, *step) = (*run + 1, 0);
        }
        Some(reply)
    };
    let link = Link { send: Box::new(|_| {}), receive: Box::new(receive), download_folder: None };
    measure(options, |_| link, Until::Frames(frames), points)
}

/// Opens the window on the run that `options` start, and closes it when that run is over.
///
/// # Errors
/// As [`open`](super::open::open).
pub fn measure_run(options: Options, connect: impl FnOnce(Wake) -> Link) -> Result<Measured> {
    measure(options, connect, Until::RunIsOver, 0)
}

fn started(points: usize) -> Started {
    Started {
        device: "none: a benchmark of the window".into(),
        model: "none".into(),
        method: "sparta".into(),
        total_parameters: 1_000_000,
        trained_parameters: 10_000,
        trained: Vec::new(),
        steps: points as u64,
        done: 0,
        batches_per_epoch: 1000,
        learning_rate: 1e-3,
        memory_limit_bytes: None,
        memory_choice: None,
    }
}

/// A loss as noisy as a real one, different in every run.
fn metrics(run: usize, at: usize, points: usize) -> Metrics {
    let share = at as f64 / points as f64;
    let noise = ((at * 7919 + run * 104_729) % 10_007) as f64 / 10_007.0 - 0.5;
    Metrics {
        step: at as u64 + 1,
        loss: Some(1.0 + 0.1 * run as f64 + 2.0 * (-4.0 * share).exp() + 0.4 * noise),
        learning_rate: Some(1e-3 * (1.0 - share)),
        grad_norm: Some(1.0 + noise.abs()),
        tokens: 2048 * at as u64,
        tokens_per_sec: 5000.0 + 500.0 * noise,
        elapsed_secs: 0.4 * at as f64,
        remaining_secs: 0.0,
        memory_in_use_bytes: 1_000_000_000 + (1e8 * noise) as u64,
        memory_reserved_bytes: 1_200_000_000,
        ..Metrics::default()
    }
}
