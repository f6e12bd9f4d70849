//! `agoge bench memory`: device memory of training beyond the loaded model, per trainable parameter.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::json;

use super::measure::{SETTINGS, full_batch, in_use};
use crate::{
    Error, Result,
    cli::format::{bytes, count},
    config::{List, RunConfig},
    device::{self, ComputeDevice, DeviceChoice},
    method::{self, Setup},
    model::Pretrained,
    source::{Files, ModelSource, embedded, to_stderr},
    train::objective::Prepared,
};

#[derive(Debug, Args)]
pub(super) struct Memory {
    /// Device; gpu takes software adapters too
    #[arg(long, default_value = "gpu")]
    device: DeviceChoice,
    /// Model folder, or org/name on the Hugging Face hub; the embedded model by default
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Densities of all linear layers, comma-separated
    #[arg(long, default_value = "0.01,0.05,0.2")]
    densities: List<f64>,
    /// Write the figures as JSON
    #[arg(long)]
    json: bool,
}

impl Memory {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let device = device::open(&self.device).await?;
        if device.is_cpu() {
            return Err(Error::input(
                "bench memory reads a GPU allocator's figures; use --device gpu (software Vulkan will do)",
            ));
        }
        let mut rows = Vec::new();
        if !self.json {
            println!("{} ({})", device.facts.name, device.facts.backend);
            println!("bytes in use by the allocator's own figures, per trainable parameter, beyond the loaded model\n");
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
                    row.per_parameter(row.between_steps),
                    row.per_parameter(row.with_gradient),
                    format!("{} B more", row.frozen_extra())
                );
            }
            rows.push(json!({
                "density": density, "trained": row.trained, "model_bytes": row.model,
                "between_steps_bytes": row.between_steps, "with_gradient_bytes": row.with_gradient,
                "bytes_per_number": row.per_parameter(row.with_gradient),
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
    fn per_parameter(&self, bytes: u64) -> f64 {
        bytes as f64 / self.trained.max(1) as f64
    }

    /// What is in use beyond 24 bytes a trainable parameter: this would be the share of the frozen weights.
    fn frozen_extra(&self) -> u64 {
        self.with_gradient.saturating_sub(24 * self.trained as u64)
    }
}
