//! `agoge bench methods`: an optimizer step of SpaRTA beside those of LoRA and of full fine-tuning, in one run.

use std::{process::ExitCode, time::Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    Error, Result,
    cli::{
        bench::{SETTINGS, full_batch, in_use},
        format::count,
    },
    config::{List, RunConfig},
    data::Batch,
    device::{self, ComputeDevice, DeviceChoice},
    method::{self, Setup, Training, change::layer_dims},
    model::{
        Pretrained,
        classifier::{Classify, HeadStart, Purpose},
    },
    train::{objective::Prepared, step::optimizer_step},
};

/// Steps of each method before the clock starts.
const WARM_UP: usize = 2;

#[derive(Debug, Args)]
pub(super) struct Methods {
    /// Device; gpu takes software adapters too
    #[arg(long, default_value = "gpu")]
    device: DeviceChoice,
    /// Widths of models, comma-separated: 384 (MiniLM), 576 (SmolLM2-135M) and 1024 (Qwen3-0.6B), with random weights
    #[arg(long, default_value = "384,576,1024")]
    sizes: List<usize>,
    /// Share of each linear weight that sparta trains; lora gets the rank that comes nearest to as many numbers
    #[arg(long, default_value_t = 0.01)]
    density: f64,
    /// Blocks of the models of width 576 and 1024, whose vocabularies shrink with them, so that the head keeps its share of
    /// a step
    #[arg(long, default_value_t = 2)]
    layers: usize,
    /// Steps of each method, one of each in turn
    #[arg(long, default_value_t = 7)]
    repetitions: usize,
    /// Write the figures as JSON
    #[arg(long)]
    json: bool,
}

/// What is compared, in the order of the table.
const COMPARED: [&str; 3] = ["sparta", "lora", "full"];

/// A model to measure with, of a real one's shape.
struct Shape {
    name: &'static str,
    config: Value,
    classes: Option<usize>,
    /// Rows and tokens of each: 512 tokens a step.
    batch: [usize; 2],
}

/// One method on a model of its own.
struct Contestant {
    name: &'static str,
    base: Pretrained,
    training: Training,
    secs: Vec<f64>,
    /// Bytes a trained number beyond the frozen weights, with its gradient; a GPU's allocator tells.
    bytes_per_number: Option<f64>,
    /// Shaders that a step launches.
    launches: usize,
}

/// The model of a width, with `layers` blocks where a real one has many.
fn shape(width: usize, layers: usize) -> Result<Shape> {
    let decoder = |kind: &str, blocks: usize, vocabulary: usize, more: Value| {
        let layers = layers.clamp(1, blocks);
        let mut config = json!({
            "model_type": kind, "hidden_size": width, "num_hidden_layers": layers, "hidden_act": "silu",
            "vocab_size": vocabulary * layers / blocks, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
            "rope_theta": 1e4, "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 0,
        });
        if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
            config.extend(more);
        }
        config
    };
    Ok(match width {
        384 => Shape {
            name: "MiniLM, 6 blocks, 2 classes",
            config: json!({
                "model_type": "bert", "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536,
                "num_hidden_layers": 6, "vocab_size": 30_522, "max_position_embeddings": 512, "type_vocab_size": 2,
                "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0,
            }),
            classes: Some(2),
            batch: [8, 64],
        },
        576 => Shape {
            name: "SmolLM2-135M, part of its 30 blocks",
            config: decoder(
                "llama",
                30,
                49_152,
                json!({ "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536 }),
            ),
            classes: None,
            batch: [2, 256],
        },
        1024 => Shape {
            name: "Qwen3-0.6B, part of its 28 blocks",
            config: decoder(
                "qwen3",
                28,
                151_936,
                json!({
                    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072
                }),
            ),
            classes: None,
            batch: [2, 256],
        },
        other => return Err(Error::input(format!("--sizes {other}: there are models of width 384, 576 and 1024"))),
    })
}

/// The rank whose two matrices have about as many numbers as `density` of the weights, in all linear layers together.
fn matching_rank(base: &Pretrained, density: f64) -> usize {
    let parameters = base.transformer.parameters();
    let layers = parameters.iter().filter(|parameter| parameter.is_linear()).filter_map(|p| layer_dims(p));
    let (numbers, sides) = layers
        .fold((0, 0), |(numbers, sides), [outputs, inputs]| (numbers + outputs * inputs, sides + outputs + inputs));
    ((density * numbers as f64 / sides.max(1) as f64).round() as usize).max(1)
}

impl Methods {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let device = device::open(&self.device).await?;
        let mut rows = Vec::new();
        if !self.json {
            println!("{} ({}), 512 tokens a step, random weights", device.facts.name, device.facts.backend);
            println!("ms: the shortest step of {}, one of each method in turn\n", self.repetitions);
            println!(
                "{:>5}  {:<8} {:>11} {:>9} {:>9} {:>10} {:>14} {:>9}",
                "width", "method", "trained", "ms", "of lora", "of full", "bytes a number", "launches"
            );
        }
        for &width in &self.sizes.0 {
            let shape = shape(width, self.layers)?;
            let contestants = self.measure(&shape, &device).await?;
            let shortest: Vec<f64> = contestants.iter().map(Contestant::shortest).collect();
            for contestant in &contestants {
                let [of_lora, of_full] = [1, 2].map(|other| contestant.shortest() / shortest[other]);
                let trained = contestant.training.trained_parameters();
                rows.push(json!({
                    "width": width, "model": shape.name, "method": contestant.name, "trained": trained,
                    "shortest_step_secs": contestant.shortest(), "step_secs": contestant.median(),
                    "of_lora": of_lora, "of_full": of_full, "bytes_per_number": contestant.bytes_per_number, "launches": contestant.launches,
                }));
                if !self.json {
                    let bytes = contestant.bytes_per_number.map_or("-".into(), |bytes| format!("{bytes:.2}"));
                    println!(
                        "{width:>5}  {:<8} {:>11} {:>9.1} {of_lora:>9.2} {of_full:>10.2} {bytes:>14} {:>9}",
                        contestant.name,
                        count(trained),
                        1e3 * contestant.shortest(),
                        contestant.launches
                    );
                }
            }
            if !self.json {
                println!("       ({})", shape.name);
            }
        }
        if self.json {
            println!("{}", json!({ "device": device.facts, "tokens": 512, "density": self.density, "rows": rows }));
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn measure(&self, shape: &Shape, device: &ComputeDevice) -> Result<Vec<Contestant>> {
        let mut contestants = Vec::new();
        for name in COMPARED {
            contestants.push(self.prepare(name, shape, device).await?);
        }
        for step in 0..WARM_UP + self.repetitions.max(1) {
            for contestant in &mut contestants {
                let window = [batch(&contestant.base, shape)];
                sync(device)?;
                let started = Instant::now();
                let (transformer, training) = (&mut contestant.base.transformer, &mut contestant.training);
                let (outcome, launches) = device::launches_during(|| {
                    optimizer_step(transformer, training, &window, step as u64, &SETTINGS, false, device)
                });
                outcome?;
                sync(device)?;
                contestant.launches = launches;
                if step >= WARM_UP {
                    contestant.secs.push(started.elapsed().as_secs_f64());
                }
            }
        }
        contestants.iter_mut().for_each(|contestant| contestant.secs.sort_unstable_by(f64::total_cmp));
        Ok(contestants)
    }

    async fn prepare(&self, name: &'static str, shape: &Shape, device: &ComputeDevice) -> Result<Contestant> {
        let folder = tempfile::tempdir().map_err(|e| Error::Run(format!("no temporary folder: {e}")))?;
        let path = folder.path().join("config.json");
        std::fs::write(&path, shape.config.to_string()).map_err(|e| Error::file("write", &path, e))?;
        let purpose = match shape.classes {
            None => Purpose::LanguageModel,
            Some(classes) => Purpose::Classify(Classify {
                classes: (0..classes).map(|class| class.to_string()).collect(),
                start: HeadStart::Random { seed: 0 },
                template: None,
            }),
        };
        let mut base = Pretrained::random(folder.path(), 0, purpose, device)?;
        let all_linear = if name == "full" { List::default() } else { List(vec!["all-linear".into()]) };
        let config = RunConfig {
            method: name.into(),
            density: self.density,
            lora_rank: matching_rank(&base, self.density),
            target_modules: all_linear,
            ..RunConfig::default()
        };
        let config = config.method_config();
        let loaded = if device.is_cpu() { 0 } else { in_use(device)? };
        let mut setup = Setup::new(&config, device, 0);
        let mut training = method::start(method::find(name)?, &mut setup, &mut base.transformer).await?;
        let mut bytes_per_number = None;
        if !device.is_cpu() {
            gradients(&mut base, &mut training, shape, device);
            let trained = training.trained_parameters().max(1) as f64;
            bytes_per_number = Some(in_use(device)?.saturating_sub(loaded) as f64 / trained);
            drop(training.update(&mut base.transformer, &SETTINGS)?);
        }
        Ok(Contestant { name, base, training, secs: Vec::new(), bytes_per_number, launches: 0 })
    }
}

/// Collects the gradients of one batch and lets everything else go.
fn gradients(base: &mut Pretrained, training: &mut Training, shape: &Shape, device: &ComputeDevice) {
    let batch = Prepared::new(&batch(base, shape), &base.transformer, device);
    training.attach(&mut base.transformer, 0);
    let hidden = base.transformer.hidden(batch.ids.clone(), &batch.layout);
    training.collect(&mut batch.loss_sum(&base.transformer, hidden).backward());
    training.detach(&mut base.transformer);
}

fn batch(base: &Pretrained, shape: &Shape) -> Batch {
    let [rows, width] = shape.batch;
    let full = full_batch(base, rows, width);
    match shape.classes {
        None => full,
        Some(classes) => {
            let classes = (0..rows).map(|row| (row % classes) as i32).collect();
            Batch { target_tokens: rows, classes, ..full }
        }
    }
}

fn sync(device: &ComputeDevice) -> Result<()> {
    device.handle.sync().map_err(|e| Error::Device(format!("the device failed: {e:?}")))
}

impl Contestant {
    fn shortest(&self) -> f64 {
        self.secs.first().copied().unwrap_or(f64::NAN)
    }

    fn median(&self) -> f64 {
        self.secs.get(self.secs.len() / 2).copied().unwrap_or(f64::NAN)
    }
}
