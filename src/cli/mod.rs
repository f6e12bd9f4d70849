//! The command line: one file a subcommand.

mod bench;
mod chart;
mod chat;
mod demo;
mod devices;
mod evaluate;
mod format;
mod generate;
mod inspect;
mod merge;
pub mod panics;
mod sampling;
mod signals;
mod terminal;
mod train;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde_json::Value;

use crate::{
    Result,
    config::RunConfig,
    device::{self, ComputeDevice, DeviceChoice},
    hub::Wanted,
    method::adapter::Adapter,
    model::Pretrained,
};

/// Fine-tune small language models on any GPU: no Python, no CUDA.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fine-tune the model inside this program and see its words before and after
    Demo(demo::Demo),
    /// Fine-tune a model on your data
    Train(Box<train::Train>),
    /// Continue a prompt
    Generate(generate::Generate),
    /// Talk with a model
    Chat(chat::Chat),
    /// Loss and perplexity on a data set
    Evaluate(evaluate::Evaluate),
    /// Fold an adapter into its base model and write a model folder
    Merge(merge::Merge),
    /// Describe a run, an adapter or a model folder
    Inspect(inspect::Inspect),
    /// List the devices of this machine
    Devices(devices::Devices),
    /// Measure kernels and memory, as ratios in one run
    Bench(bench::Bench),
}

impl Cli {
    /// Reads the command line; the help of `train` shows the default of every setting, from the one list of them.
    pub fn read() -> Self {
        let defaults = serde_json::json!(RunConfig::default());
        let command = Self::command().mut_subcommand("train", |train| {
            train.mut_args(|arg| {
                let default = match &defaults[arg.get_id().as_str()] {
                    Value::Bool(_) | Value::Null | Value::Array(_) => return arg,
                    Value::String(text) if text.is_empty() => return arg,
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                arg.help(format!("{help} [default: {default}]"))
            })
        });
        let matches = command.get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// A base model, perhaps with an adapter, on a device.
#[derive(Debug, Args)]
struct ModelArgs {
    /// Model folder in the Hugging Face layout, or org/name on the Hugging Face hub
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Branch, tag or commit of a model on the hub [default: main]
    #[arg(long, value_name = "REVISION", default_value_t, hide_default_value = true)]
    revision: String,
    /// Folder of a run, whose adapter is applied
    #[arg(long, value_name = "FOLDER")]
    adapter: Option<PathBuf>,
    /// auto, gpu, cpu, a number of `agoge devices`, or a part of an adapter's name
    #[arg(long, default_value_t)]
    device: DeviceChoice,
}

impl ModelArgs {
    /// Where the model is, fetched from the hub if it has to be.
    fn folder(&self) -> Result<PathBuf> {
        let wanted = Wanted { revision: &self.revision, ..Wanted::whole(&self.model) };
        wanted.locate().map(|located| located.folder)
    }

    /// Opens the device, loads the model, applies the adapter.
    async fn load(&self) -> Result<(Pretrained, ComputeDevice)> {
        // The adapter is read first: it is small, and a wrong path should not cost the loading of a model.
        let adapter = self.adapter.as_deref().map(Adapter::read).transpose()?;
        let folder = self.folder()?;
        crate::model::pretrained::read_config(&folder)?;
        let device = device::open(&self.device).await?;
        let mut base = Pretrained::load(&folder, &device)?;
        if let Some(adapter) = adapter {
            adapter.apply(&mut base, &device)?;
        }
        Ok((base, device))
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever went wrong, as one sentence.
pub fn dispatch(cli: Cli) -> Result<ExitCode> {
    pollster::block_on(async {
        match cli.command {
            Command::Demo(command) => command.run().await,
            Command::Train(command) => command.run().await,
            Command::Generate(command) => command.run().await,
            Command::Chat(command) => command.run().await,
            Command::Evaluate(command) => command.run().await,
            Command::Merge(command) => command.run().await,
            Command::Inspect(command) => command.run(),
            Command::Devices(command) => command.run().await,
            Command::Bench(command) => command.run().await,
        }
    })
}
