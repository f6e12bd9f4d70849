//! `agoge bench step`: the estimate of the memory of a step and what the allocator had in use at most.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;

use crate::{
    Error, Result,
    cli::{
        bench::measure::{SETTINGS, full_batch, purpose, sync},
        format::bytes,
    },
    config::{GradCheckpointing, List, Quantize, RunConfig, Task, WeightsDtype},
    device::{self, ComputeDevice, DeviceChoice, Memory},
    method::{self, Setup},
    model::{Architecture, Pretrained},
    source::{Files, ModelSource, embedded, to_stderr},
    train::{
        estimate::{PAGES, Rows, estimate},
        inputs::kept,
        step::optimizer_step,
    },
};

#[derive(Debug, Args)]
pub(super) struct Step {
    /// Device; gpu takes software adapters too
    #[arg(long, default_value = "gpu")]
    device: DeviceChoice,
    /// Model folder, or org/name on the Hugging Face hub; the embedded model by default
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Methods, comma-separated
    #[arg(long, value_name = "NAMES", default_value = "sparta,lora,full")]
    methods: List<String>,
    /// Rows in a batch, comma-separated
    #[arg(long, default_value = "1,4,16")]
    batch_sizes: List<usize>,
    /// Batches in a step
    #[arg(long, default_value_t = 1)]
    grad_accumulation_steps: usize,
    /// Tokens in a row
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// Tell this many classes apart instead of predicting tokens
    #[arg(long)]
    classes: Option<usize>,
    /// Parts of the names of the tensors to train, comma-separated [default: the method's]
    #[arg(long, value_name = "NAMES")]
    target_modules: Option<List<String>>,
    /// Bits of the weights on a GPU: auto (as the checkpoint has them) or f32
    #[arg(long, value_enum, default_value_t)]
    weights_dtype: WeightsDtype,
    /// Quantize the frozen weights of linear layers
    #[arg(long, value_enum, default_value_t)]
    quantize: Quantize,
    /// Write the figures as JSON
    #[arg(long)]
    json: bool,
}

impl Step {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let device = device::open(&self.device).await?;
        let mut measured = Vec::new();
        for method in &self.methods.0 {
            for &batch_size in &self.batch_sizes.0 {
                for checkpointing in [GradCheckpointing::Off, GradCheckpointing::On] {
                    let config = self.config(method, batch_size, checkpointing);
                    let (memory, architecture, classes) = self.measure(&config, &device)?;
                    measured.push((config, memory, architecture, classes));
                }
            }
        }
        if !self.json {
            println!("{} ({}), rows of {} tokens", device.facts.name, device.facts.backend, self.tokens);
            println!("memory of a step, measured and estimated: in use, and held by the allocator\n");
            println!(
                "{:<8} {:>5} {:>10} {:>10} {:>10} {:>8} {:>10} {:>10} {:>8}",
                "method", "batch", "checkpoint", "in use", "estimate", "off by", "held", "estimate", "off by"
            );
        }
        // Only now: an estimate is an allocator's work as well, and the logs of allocators are one.
        let mut rows = Vec::new();
        for (config, measured, architecture, classes) in measured {
            let (method, batch_size) = (&config.method, config.batch_size);
            let targets = vec![self.tokens - 1; batch_size];
            let row = Rows { longest: self.tokens, targets, ..Rows::default() };
            let started = Instant::now();
            let estimate = estimate(&config, &architecture, classes, &row, &device.facts)?;
            let secs = started.elapsed().as_secs_f64();
            let checkpointed = config.grad_checkpointing == GradCheckpointing::On;
            if !self.json {
                let pages = estimate.parts.iter().find(|(name, _)| name == PAGES).map_or(0, |(_, bytes)| *bytes);
                let pair = |measured: u64, estimated: u64| {
                    let off = format!("{:+.1} %", 100.0 * (estimated as f64 / measured.max(1) as f64 - 1.0));
                    format!("{:>10} {:>10} {off:>8}", bytes(measured), bytes(estimated))
                };
                println!(
                    "{method:<8} {batch_size:>5} {:>10} {} {}",
                    if checkpointed { "yes" } else { "no" },
                    pair(measured.in_use_bytes, estimate.total_bytes - pages),
                    pair(measured.reserved_bytes, estimate.total_bytes)
                );
            }
            rows.push(json!({
                "method": method, "batch_size": batch_size, "tokens": self.tokens, "recomputed": checkpointed,
                "in_use_bytes": measured.in_use_bytes, "reserved_bytes": measured.reserved_bytes,
                "estimate": estimate, "estimate_secs": secs,
            }));
        }
        if self.json {
            println!("{}", json!({ "device": device.facts, "rows": rows }));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn config(&self, method: &str, batch_size: usize, checkpointing: GradCheckpointing) -> RunConfig {
        RunConfig {
            method: method.to_owned(),
            task: if self.classes.is_some() { Task::Classify } else { Task::CausalLm },
            batch_size,
            grad_accumulation_steps: self.grad_accumulation_steps,
            grad_checkpointing: checkpointing,
            target_modules: self.target_modules.clone().unwrap_or_default(),
            weights_dtype: self.weights_dtype,
            quantize: self.quantize,
            ..RunConfig::default()
        }
    }

    /// The most that was in use from the loading of the model to its second step; the model's description, and the number
    /// of its classes.
    fn measure(&self, config: &RunConfig, device: &ComputeDevice) -> Result<(Memory, Architecture, usize)> {
        sync(device)?;
        device.handle.memory_cleanup();
        let before = device.memory();
        let mut model = None;
        let most = most_in_use(device, || {
            let mut base = self.load(device)?;
            let a = &base.transformer.architecture;
            if self.tokens < 2 || self.tokens > a.max_positions {
                return Err(Error::input(format!(
                    "--tokens {}: it must be from 2 to {}",
                    self.tokens, a.max_positions
                )));
            }
            model = Some((a.clone(), base.classes().len()));
            let batch = full_batch(&base, config.batch_size, self.tokens);
            let method_config = config.method_config();
            let entry = method::find(&config.method)?;
            let mut setup = Setup::new(&method_config, device, 0);
            let started = method::start(entry, &mut setup, &mut base.transformer);
            let mut training = pollster::block_on(started)?;
            let window = vec![batch; config.grad_accumulation_steps];
            let checkpointing = config.grad_checkpointing == GradCheckpointing::On;
            for _ in 0..2 {
                optimizer_step(&mut base.transformer, &mut training, &window, 0, &SETTINGS, checkpointing, device)?;
                sync(device)?;
            }
            Ok(())
        })?;
        let measured = Memory {
            in_use_bytes: most.in_use_bytes.saturating_sub(before.in_use_bytes),
            reserved_bytes: most.reserved_bytes.saturating_sub(before.reserved_bytes),
        };
        let (architecture, classes) = model.expect("kept before the first step");
        Ok((measured, architecture, classes))
    }

    fn load(&self, device: &ComputeDevice) -> Result<Pretrained> {
        let purpose = purpose(self.classes, 0);
        let keeping = kept(self.weights_dtype, self.quantize);
        match &self.model {
            Some(model) => {
                let folder = ModelSource::named(model, "")?.folder(Files::All, &to_stderr)?;
                Pretrained::load_as(&folder, purpose, keeping, device)
            }
            None => {
                Pretrained::from_bytes_as(embedded::NAME, embedded::CONFIG, embedded::WEIGHTS.to_vec(), keeping, device)
            }
        }
    }
}

/// The most that was in use and held while `work` ran, asked for again and again from a second thread. What comes and
/// goes between two answers is missed.
fn most_in_use(device: &ComputeDevice, work: impl FnOnce() -> Result<()>) -> Result<Memory> {
    let (in_use, reserved, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let memory = device.memory();
                // Every answer makes the device hand in what it has queued; without a pause it would do little else.
                std::thread::sleep(Duration::from_micros(200));
                in_use.fetch_max(memory.in_use_bytes, Ordering::Relaxed);
                reserved.fetch_max(memory.reserved_bytes, Ordering::Relaxed);
            }
        });
        let result = work();
        over.store(true, Ordering::Relaxed);
        result
    })?;
    Ok(Memory { in_use_bytes: in_use.into_inner(), reserved_bytes: reserved.into_inner() })
}
