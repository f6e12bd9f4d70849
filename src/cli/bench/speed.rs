//! `agoge bench speed`: seconds of an optimizer step and the memory of the process, for one model, batch and method.

use std::{process::ExitCode, time::Instant};

use clap::Args;
use serde_json::json;

use crate::{
    Error, Result,
    cli::{
        bench::measure::{SETTINGS, full_batch, purpose, sync},
        format::{bytes, count},
    },
    config::{GradCheckpointing, Overrides, RunConfig, Task},
    device::{self, ComputeDevice},
    method::{self, Setup},
    source::{embedded, pin, silent},
    train::{inputs::load_base, step::optimizer_step},
};

/// Steps before the clock starts: buffers, shaders and caches are warm after them.
const WARM_UP: usize = 3;
/// Steps that are measured where `--steps` is not given.
const MEASURED: u64 = 20;

#[derive(Debug, Args)]
pub(super) struct Speed {
    /// Write the figures as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Overrides,
}

/// What was measured.
#[derive(Debug)]
struct Figures {
    /// Seconds of each step, shortest first.
    secs: Vec<f64>,
    trained: usize,
    loss: f32,
    /// What the device's allocator held after the warm-up and at the end.
    reserved: [u64; 2],
    /// Seconds from the start of the program, before the search for devices, to the end of the first step.
    first_step_secs: f64,
}

impl Figures {
    fn shortest(&self) -> f64 {
        self.secs.first().copied().unwrap_or(f64::NAN)
    }

    fn median(&self) -> f64 {
        self.secs.get(self.secs.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl Speed {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let mut config = RunConfig { model: embedded::NAME.into(), steps: MEASURED, ..RunConfig::default() };
        self.settings.apply(&mut config);
        config.check()?;
        let started = Instant::now();
        let device = device::open(&config.device).await?;
        pin(&mut config, &silent)?;
        let width = if config.max_seq_length == 0 { 64 } else { config.max_seq_length };
        let figures = measure(&config, width, &device, started).await?;
        let peak = device::peak_of_process();
        let tokens = config.batch_size * config.grad_accumulation_steps * width;
        if self.json {
            println!(
                "{}",
                json!({
                    "program": concat!("agoge ", env!("CARGO_PKG_VERSION")), "device": device.facts,
                    "model": config.model, "method": config.method, "batch_size": config.batch_size,
                    "grad_accumulation_steps": config.grad_accumulation_steps, "tokens": width,
                    "trained": figures.trained, "step_secs": figures.median(), "shortest_step_secs": figures.shortest(),
                    "first_step_secs": figures.first_step_secs,
                    "tokens_per_sec": tokens as f64 / figures.median(), "loss": figures.loss,
                    "peak_resident_bytes": peak, "warm_reserved_bytes": figures.reserved[0],
                    "reserved_bytes": figures.reserved[1],
                })
            );
            return Ok(ExitCode::SUCCESS);
        }
        println!("{} ({}), {}", device.facts.name, device.facts.backend, config.model.display());
        println!(
            "{}: {} rows of {width} tokens a step, {} trainable parameters, loss {:.4}",
            config.method,
            config.batch_size * config.grad_accumulation_steps,
            count(figures.trained),
            figures.loss
        );
        println!(
            "{:.1} ms a step (median of {}; shortest {:.1}), {} tokens/s, the first step after {:.2} s, process at most {}",
            1e3 * figures.median(),
            figures.secs.len(),
            1e3 * figures.shortest(),
            count((tokens as f64 / figures.median()) as usize),
            figures.first_step_secs,
            bytes(peak)
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// Times the steps of one method on one batch, each until all queued work is done.
async fn measure(config: &RunConfig, width: usize, device: &ComputeDevice, started: Instant) -> Result<Figures> {
    let classes = (config.task == Task::Classify).then(|| config.classes.0.len().max(2));
    let mut base = load_base(config, purpose(classes, config.seed), device)?;
    let positions = base.transformer.architecture.max_positions;
    if width < 2 || width > positions {
        return Err(Error::input(format!("--max-seq-length {width}: it must be from 2 to {positions} for this model")));
    }
    let window = vec![full_batch(&base, config.batch_size, width); config.grad_accumulation_steps];
    let method_config = config.method_config();
    let entry = method::find(&config.method)?;
    let mut setup = Setup::new(&method_config, device, config.seed);
    let mut training = method::start(entry, &mut setup, &mut base.transformer).await?;
    let checkpointing = config.grad_checkpointing == GradCheckpointing::On;
    let mut secs = Vec::new();
    let mut loss = f32::NAN;
    let (mut warm, mut first_step_secs) = (0, f64::NAN);
    for step in 0..WARM_UP + config.steps as usize {
        if step == WARM_UP {
            warm = device.memory().reserved_bytes;
        }
        let before = Instant::now();
        let outcome = optimizer_step(
            &mut base.transformer,
            &mut training,
            &window,
            step as u64,
            &SETTINGS,
            checkpointing,
            device,
        )?;
        sync(device)?;
        if step == 0 {
            first_step_secs = started.elapsed().as_secs_f64();
        }
        if step >= WARM_UP {
            secs.push(before.elapsed().as_secs_f64());
        }
        loss = outcome.loss.into_scalar::<f32>();
    }
    secs.sort_unstable_by(f64::total_cmp);
    let reserved = [warm, device.memory().reserved_bytes];
    Ok(Figures { secs, trained: training.trained_parameters(), loss, reserved, first_step_secs })
}
