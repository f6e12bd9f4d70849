//! `agoge bench`: ratios from one run, never absolute promises.

mod attention;
mod matmul;
mod methods;
mod speed;
mod step;
mod window;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use burn::tensor::Tensor;
use clap::{Args, Subcommand};
use serde_json::json;

use super::format::{bytes, count};
use crate::{
    Error, Result,
    config::{List, RunConfig},
    data::Batch,
    device::{self, ComputeDevice, DeviceChoice},
    kernel::{
        AdamW, Strategy,
        masked_gather::{self, Machine, masked_gather},
    },
    method::{self, Setup, mask},
    model::Pretrained,
    rng::Stream,
    source::{Files, ModelSource, embedded, to_stderr},
    train::objective::Prepared,
};

/// Arguments of `agoge bench`.
#[derive(Debug, Args)]
pub(super) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Masked gather, direct, transposed and tiled, against the dense gradient and a gather
    Kernels(Kernels),
    /// Attention over blocks of keys against all scores at once
    Attention(attention::Attention),
    /// Products with frozen matrices: every way and storage type, and Burn's own
    Matmul(matmul::Matmul),
    /// Device memory of training over inference, per trained number
    Memory(Memory),
    /// A frame of the live window with much to draw, and a run with the window against one without
    Window(window::Window),
    /// Memory of an optimizer step, measured and estimated
    Step(step::Step),
    /// A step of sparta beside those of lora and full, in one run
    Methods(methods::Methods),
    /// Seconds of an optimizer step of one model, batch and method, with the settings of a run
    Speed(Box<speed::Speed>),
}

#[derive(Debug, Args)]
struct Kernels {
    /// Device; gpu takes software adapters too
    #[arg(long, default_value = "gpu")]
    device: DeviceChoice,
    /// Widths of square weights, comma-separated
    #[arg(long, default_value = "256,512,1024,2048")]
    sizes: List<usize>,
    /// Densities, comma-separated
    #[arg(long, default_value = "0.001,0.003,0.01,0.03,0.1,0.3")]
    densities: List<f64>,
    /// Tokens
    #[arg(long, default_value_t = 1024)]
    tokens: usize,
    /// Write the figures as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Memory {
    /// Device; gpu takes software adapters too
    #[arg(long, default_value = "gpu")]
    device: DeviceChoice,
    /// Model folder, or org/name on the Hugging Face hub; the embedded model unless told otherwise
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Densities of all linear layers, comma-separated
    #[arg(long, default_value = "0.01,0.05,0.2")]
    densities: List<f64>,
    /// Write the figures as JSON
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(super) fn opens_window(&self) -> bool {
        matches!(self.what, What::Window(_))
    }

    pub(super) async fn run(self) -> Result<ExitCode> {
        match self.what {
            What::Kernels(bench) => bench.run().await,
            What::Attention(bench) => bench.run().await,
            What::Matmul(bench) => bench.run().await,
            What::Memory(bench) => bench.run().await,
            What::Window(bench) => bench.run(),
            What::Step(bench) => bench.run().await,
            What::Methods(bench) => bench.run().await,
            What::Speed(bench) => bench.run().await,
        }
    }
}

/// Some step of AdamW: none of what is measured depends on its numbers.
const SETTINGS: AdamW = AdamW {
    learning_rate: 1e-3,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-8,
    weight_decay: 0.0,
    correction1: 0.1,
    correction2: 0.01,
    max_norm: 1.0,
};

/// `rows` rows of `width` tokens, all of which are learnt.
fn full_batch(base: &Pretrained, rows: usize, width: usize) -> Batch {
    let vocabulary = base.transformer.architecture.vocab_size as i32;
    let ids: Vec<i32> = (0..rows * width).map(|at| at as i32 % vocabulary).collect();
    Batch {
        labels: ids.clone(),
        attention_mask: vec![1; ids.len()],
        ids,
        row_count: rows,
        width,
        target_tokens: rows * (width - 1),
        tokens: rows * width,
        classes: Vec::new(),
        token_types: Vec::new(),
    }
}

/// Seconds for which short calls are measured together.
const TOGETHER: f64 = 2e-3;

/// Seconds of one call: the shortest of several, after one to warm up.
fn fastest(device: &ComputeDevice, mut call: impl FnMut() -> Tensor<1>) -> Result<f64> {
    let sync = || device.handle.sync().map_err(|e| Error::Device(format!("the device failed: {e:?}")));
    let mut times = |calls: usize| {
        let started = Instant::now();
        (0..calls).for_each(|_| drop(call()));
        sync()?;
        Ok::<f64, Error>(started.elapsed().as_secs_f64())
    };
    times(1)?;
    // Waiting for the device takes time as well: short calls are measured together.
    let together = ((TOGETHER / times(1)?) as usize).clamp(1, 32);
    let (mut best, mut spent, mut rounds) = (f64::INFINITY, 0.0, 0);
    while rounds < 3 || (spent < 0.4 && rounds < 50) {
        let secs = times(together)?;
        (best, spent, rounds) = (best.min(secs / together as f64), spent + secs, rounds + 1);
    }
    Ok(best)
}

/// Bytes in use once all queued work is done.
fn in_use(device: &ComputeDevice) -> Result<u64> {
    device.handle.sync().map_err(|e| Error::Device(format!("the device failed: {e:?}")))?;
    device.handle.memory_cleanup();
    Ok(device.memory().in_use_bytes)
}

/// Bytes by which the allocator's reserve grows for one call, from an empty reserve.
fn reserve(device: &ComputeDevice, call: impl FnOnce() -> Tensor<1>) -> Result<u64> {
    let sync = || device.handle.sync().map_err(|e| Error::Device(format!("the device failed: {e:?}")));
    device.handle.memory_cleanup();
    sync()?;
    let before = device.memory().reserved_bytes;
    let result = call();
    sync()?;
    let after = device.memory().reserved_bytes;
    drop(result);
    Ok(after.saturating_sub(before))
}

impl Kernels {
    async fn run(self) -> Result<ExitCode> {
        let device = device::open(&self.device).await?;
        let mut rows = Vec::new();
        if !self.json {
            println!("{} ({}), {} tokens", device.facts.name, device.facts.backend, self.tokens);
            println!("times in ms; x = dense + gather divided by ours; memory beyond the inputs and the mask\n");
            println!(
                "{:>5} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}  {:>7} {:<7} {:>10} {:>10}",
                "width",
                "density",
                "dense",
                "direct",
                "dots",
                "turned",
                "tiled",
                "x auto",
                "auto",
                "mem dense",
                "mem auto"
            );
        }
        for &size in &self.sizes.0 {
            let mut stream = Stream::new(1, "bench");
            let mut random = |len: usize| (0..len).map(|_| stream.unit() as f32 - 0.5).collect::<Vec<f32>>();
            let x = device.floats(random(self.tokens * size), [self.tokens, size]);
            let dy = device.floats(random(self.tokens * size), [self.tokens, size]);
            let mut crossover = None;
            for &density in &self.densities.0 {
                let selected = ((density * (size * size) as f64).round() as usize).max(1);
                let indices = device.indices(&mask::draw(1, "bench", size * size, selected));
                let gather = |strategy| masked_gather(x.clone(), dy.clone(), indices.clone(), strategy);
                let composed = || masked_gather::composed(x.clone(), dy.clone(), indices.clone());
                let dense = fastest(&device, composed)?;
                let direct = fastest(&device, || gather(Strategy::Direct))?;
                let dots = fastest(&device, || gather(Strategy::DotProducts))?;
                let turned = fastest(&device, || gather(Strategy::Transposed))?;
                let tiled = fastest(&device, || gather(Strategy::Tiled))?;
                let chosen = Strategy::Auto.resolve(Machine::of(&device), self.tokens, size, size, selected);
                let auto = match chosen {
                    Strategy::Tiled => tiled,
                    Strategy::DotProducts => dots,
                    Strategy::Transposed => turned,
                    _ => direct,
                };
                let (dense_memory, auto_memory) =
                    (reserve(&device, composed)?, reserve(&device, || gather(Strategy::Auto))?);
                if tiled < direct.min(dots).min(turned) && crossover.is_none() {
                    crossover = Some(density);
                }
                rows.push(json!({
                    "width": size, "density": density, "tokens": self.tokens, "dense_secs": dense,
                    "direct_secs": direct, "dots_secs": dots, "turned_secs": turned, "tiled_secs": tiled,
                    "chosen": format!("{chosen:?}").to_lowercase(),
                    "speedup": dense / auto, "dense_bytes": dense_memory, "bytes": auto_memory,
                    "weight_bytes": 4 * size * size,
                }));
                if !self.json {
                    println!(
                        "{size:>5} {density:>8} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3}  {:>7.2} {:<7} {:>10} {:>10}",
                        1e3 * dense,
                        1e3 * direct,
                        1e3 * dots,
                        1e3 * turned,
                        1e3 * tiled,
                        dense / auto,
                        format!("{chosen:?}").to_lowercase(),
                        bytes(dense_memory),
                        bytes(auto_memory)
                    );
                }
            }
            if !self.json {
                let measured = crossover.map_or("none of these".into(), |density| density.to_string());
                println!("      first density at which tiled is the fastest: {measured}\n");
            }
        }
        if self.json {
            println!("{}", json!({ "device": device.facts, "rows": rows }));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Memory {
    async fn run(self) -> Result<ExitCode> {
        let device = device::open(&self.device).await?;
        if device.is_cpu() {
            return Err(Error::input(
                "bench memory reads a GPU allocator's figures; use --device gpu (software Vulkan will do)",
            ));
        }
        let mut rows = Vec::new();
        if !self.json {
            println!("{} ({})", device.facts.name, device.facts.backend);
            println!("bytes in use by the allocator's own figures, per trained number, over the loaded model\n");
            println!(
                "{:>8} {:>10} {:>12} {:>14} {:>14} {:>16}",
                "density", "trained", "model", "between steps", "with gradient", "frozen weights"
            );
        }
        for &density in &self.densities.0 {
            let row = self.measure(&device, density).await?;
            if !self.json {
                println!(
                    "{density:>8} {:>10} {:>12} {:>14.2} {:>14.2} {:>16}",
                    count(row.trained),
                    bytes(row.model),
                    row.per_number(row.between_steps),
                    row.per_number(row.with_gradient),
                    format!("{} B more", row.frozen_extra())
                );
            }
            rows.push(json!({
                "density": density, "trained": row.trained, "model_bytes": row.model,
                "between_steps_bytes": row.between_steps, "with_gradient_bytes": row.with_gradient,
                "bytes_per_number": row.per_number(row.with_gradient),
            }));
        }
        if self.json {
            println!("{}", json!({ "device": device.facts, "rows": rows }));
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn measure(&self, device: &ComputeDevice, density: f64) -> Result<Row> {
        let in_use = || in_use(device);
        let start = in_use()?;
        let mut base = match &self.model {
            Some(model) => Pretrained::load(&ModelSource::named(model, "")?.folder(Files::All, &to_stderr)?, device)?,
            None => Pretrained::from_bytes(embedded::NAME, embedded::CONFIG, embedded::WEIGHTS.to_vec(), device)?,
        };
        let loaded = in_use()?;
        let config = RunConfig { density, target_modules: List(vec!["all-linear".into()]), ..RunConfig::default() };
        let entry = method::find("sparta")?;
        let config = config.method_config();
        let mut training = method::start(entry, &mut Setup::new(&config, device, 0), &mut base.transformer).await?;
        let trained = training.trained_parameters();
        let between_steps = in_use()? - loaded;

        let batch = full_batch(&base, 4, 64);
        let with_gradient = {
            let batch = Prepared::new(&batch, &base.transformer, device);
            training.attach(&mut base.transformer, 0);
            let hidden = base.transformer.hidden(batch.ids.clone(), &batch.layout);
            let loss = batch.loss_sum(&base.transformer, hidden);
            let mut gradients = loss.backward();
            training.collect(&mut gradients);
            training.detach(&mut base.transformer);
            drop((batch, loss, gradients));
            in_use()? - loaded
        };
        drop(training.update(&mut base.transformer, &SETTINGS)?);
        let after_step = in_use()? - loaded;
        Ok(Row { trained, model: loaded - start, between_steps: between_steps.max(after_step), with_gradient })
    }
}

struct Row {
    trained: usize,
    model: u64,
    between_steps: u64,
    with_gradient: u64,
}

impl Row {
    fn per_number(&self, bytes: u64) -> f64 {
        bytes as f64 / self.trained.max(1) as f64
    }

    /// What is in use beyond 24 bytes a trained number: this would be the frozen rest's share.
    fn frozen_extra(&self) -> u64 {
        self.with_gradient.saturating_sub(24 * self.trained as u64)
    }
}
