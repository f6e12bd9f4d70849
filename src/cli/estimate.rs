//! `agoge estimate`: the memory that a run would take.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::json;

use super::{format::bytes, settings};
use crate::{
    Result,
    config::Overrides,
    device,
    event::messages,
    method,
    session::Preflight,
    source::{Report, silent, to_stderr},
    train::estimate::{estimate, settle},
};

/// Arguments of `agoge estimate`.
#[derive(Debug, Args)]
pub(super) struct Estimate {
    /// Settings from a TOML file; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Overrides,
}

impl Estimate {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let typed = self.settings.given();
        let mut config = settings::read(self.config.as_deref(), self.settings, &["model"])?;
        config.check()?;
        method::settings::check_typed(&[method::find(&config.method)?], &typed)?;
        let report: Report = if self.json { &silent } else { &to_stderr };
        let Preflight { architecture, classes, rows } = Preflight::load(&config, report)?;
        let device = device::find(&config.device).await?;
        let chosen = match config.memory_budget.is_empty() {
            true => None,
            false => settle(&mut config, &architecture, classes, &rows, &device)?,
        };
        let estimate = estimate(&config, &architecture, classes, &rows, &device)?;
        if self.json {
            println!("{}", json!({ "device": device, "estimate": estimate, "memory_choice": chosen }));
        } else {
            let of = |data: bool| if data { "the longest" } else { "at most, as no --data is given" };
            println!("device   {} ({}, {})", device.name, device.backend, device.kind);
            println!("rows     {} tokens, {}", rows.longest, of(!config.data.as_os_str().is_empty()));
            println!("batches  of {}, {} a step", config.batch_size, config.grad_accumulation_steps);
            if let Some(choice) = chosen {
                println!("memory   {choice}");
            }
            println!();
            table(&estimate);
        }
        Ok(if estimate.advice.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn table(estimate: &messages::Estimate) {
    println!("at the fullest moment:");
    let total = ("total".to_owned(), estimate.total_bytes);
    for (name, amount) in estimate.parts.iter().chain([&total]) {
        println!("{name:<20} {:>8}", bytes(*amount));
    }
    if let Some(limit) = estimate.limit_bytes {
        println!("{:<20} {:>8}", "of", bytes(limit));
    }
    match (estimate.advice.is_empty(), estimate.limit_bytes) {
        (true, Some(_)) => println!("\nit fits"),
        (true, None) => println!("\nthis device does not say how much it has"),
        (false, _) => {
            println!("\nit does not fit:");
            estimate.advice.iter().for_each(|sentence| println!("  {sentence}"));
        }
    }
}
