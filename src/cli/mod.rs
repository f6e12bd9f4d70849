//! The command line: one file a subcommand.

mod bench;
mod chart;
mod chat;
mod classify;
mod compare;
mod demo;
mod devices;
mod estimate;
mod evaluate;
mod export;
mod generate;
mod inspect;
mod merge;
mod sampling;
mod serve_web;
mod signals;
mod terminal;
mod train;
#[cfg(feature = "window")]
mod window;
#[cfg(not(feature = "window"))]
#[path = "window_missing.rs"]
mod window;

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde_json::Value;

use crate::{
    Error, Result,
    config::{OF_MODEL_AND_DATA, Quantize, RunConfig, WeightsDtype, settings},
    demo::locate,
    device::{self, ComputeDevice, DeviceChoice},
    format,
    hub::Wanted,
    kernel::Packing,
    method::{
        adapter::Adapter,
        stack::{Overlap, fold_for_good},
    },
    model::{Keeping, Pretrained, classifier::Purpose, pretrained::read_config},
    train::inputs::kept,
};
pub use crate::{device::keep_freed_memory, panics};

/// Fine-tune small language models on any GPU: no Python, no CUDA.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do; without it the live window opens
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fine-tune the model inside this program and see its words before and after
    Demo(Box<demo::Demo>),
    /// Fine-tune a model on your data
    Train(Box<train::Train>),
    /// Tell the memory that a run would take, and what would make it fit
    Estimate(Box<estimate::Estimate>),
    /// Train with several methods in turn and compare them in one table
    Compare(Box<compare::Compare>),
    /// Look at runs, running or over, in the live window
    Watch(window::Watch),
    /// Show the page that trains in the browser, on this machine
    ServeWeb(serve_web::ServeWeb),
    /// Tell the class of texts
    Classify(classify::Classify),
    /// Continue a prompt
    Generate(generate::Generate),
    /// Talk with a model
    Chat(chat::Chat),
    /// Loss and perplexity on a data set
    Evaluate(evaluate::Evaluate),
    /// Fold an adapter into its base model and write a model folder
    Merge(merge::Merge),
    /// Write an adapter in the layout of another program
    Export(export::Export),
    /// Describe a run, an adapter or a model folder
    Inspect(inspect::Inspect),
    /// List the devices of this machine
    Devices(devices::Devices),
    /// Measure kernels and memory, as ratios in one run
    Bench(bench::Bench),
}

impl Command {
    fn opens_window(&self) -> bool {
        match self {
            Self::Watch(_) => true,
            Self::Train(train) => train.window,
            Self::Bench(bench) => bench.opens_window(),
            _ => false,
        }
    }
}

impl Cli {
    /// Reads the command line; the help of `train` and its like shows the default of every setting, from the one list of them.
    pub fn read() -> Self {
        let with_defaults = |command: clap::Command, defaults: &RunConfig| {
            let defaults = serde_json::json!(defaults);
            command.mut_args(|arg| {
                let default = match &defaults[arg.get_id().as_str()] {
                    Value::Bool(_) | Value::Null | Value::Array(_) => return arg,
                    Value::String(text) if text.is_empty() => return arg,
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                arg.help(format!("{help} [default: {default}]"))
            })
        };
        let of_a_run = |command| with_defaults(command, &RunConfig::default());
        let of_the_demo = |command| {
            let settings: Vec<String> = settings().into_iter().map(|setting| setting.name).collect();
            with_defaults(command, &crate::demo::config()).mut_args(|arg| {
                let name = arg.get_id().to_string();
                let more = settings.contains(&name) && !demo::SHOWN.contains(&name.as_str());
                arg.hide_short_help(more).hide(OF_MODEL_AND_DATA.contains(&name.as_str()))
            })
        };
        let command = Self::command()
            .mut_subcommand("train", of_a_run)
            .mut_subcommand("estimate", of_a_run)
            .mut_subcommand("compare", of_a_run)
            .mut_subcommand("demo", of_the_demo);
        let matches = command.get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// A base model, perhaps with an adapter, on a device.
#[derive(Clone, Debug, Args)]
struct ModelArgs {
    /// Model folder in the Hugging Face layout, org/name on the Hugging Face hub, or agoge-demo (the model inside this program)
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Branch, tag or commit of a model on the hub [default: main]
    #[arg(long, value_name = "REVISION", default_value_t, hide_default_value = true)]
    revision: String,
    /// Folder of a run, or of another program's adapter; with a weight behind a colon, 1 unless told otherwise. Give it
    /// several times to add adapters up
    #[arg(long, value_name = "FOLDER[:WEIGHT]")]
    adapter: Vec<AdapterArg>,
    /// auto, gpu, cpu, a number of `agoge devices`, or a part of an adapter's name
    #[arg(long, default_value_t)]
    device: DeviceChoice,
    /// Bits of the weights on a GPU: auto (as the checkpoint has them) or f32
    #[arg(long, value_enum, default_value_t)]
    weights_dtype: WeightsDtype,
    /// Quantize the weights of linear layers to q8 or q4 [default: as the adapter was trained]
    #[arg(long, value_enum)]
    quantize: Option<Quantize>,
}

impl ModelArgs {
    /// Where the model is, fetched from the hub if it has to be.
    fn folder(&self) -> Result<PathBuf> {
        locate(&Wanted { revision: &self.revision, ..Wanted::whole(&self.model) }).map(|located| located.folder)
    }

    /// The adapters and their weights, read but not applied.
    fn adapters(&self) -> Result<Vec<(Adapter, f32)>> {
        self.adapter.iter().map(|arg| Ok((Adapter::read(&arg.folder)?, arg.weight))).collect()
    }

    /// How the weights are kept. An adapter changes the weights that it was trained on, so they are quantized as then.
    fn keeping(&self, adapters: &[(Adapter, f32)]) -> Result<Keeping> {
        let asked = kept(self.weights_dtype, self.quantize.unwrap_or_default());
        let mut trained = adapters.iter().map(|(adapter, _)| adapter.info.quantized);
        let first = trained.next().flatten();
        if trained.any(|other| other != first) && self.quantize.is_none() {
            return Err(Error::input(
                "--adapter: these adapters were trained on differently quantized weights; say with --quantize none, q8 or q4 \
                 which weights they are to change",
            ));
        }
        Ok(Keeping { quantized: if self.quantize.is_some() { asked.quantized } else { first }, ..asked })
    }

    /// Settles how the weights are quantized by adapters that are applied later.
    fn follow(&mut self, adapters: &[(Adapter, f32)]) -> Result<()> {
        self.quantize = Some(match self.keeping(adapters)?.quantized {
            Some(Packing::Q8) => Quantize::Q8,
            Some(Packing::Q4) => Quantize::Q4,
            _ => Quantize::None,
        });
        Ok(())
    }

    /// The same arguments with weights in f32 on every device: sums of weight and change are rounded only where they are written.
    fn in_f32(&self) -> Self {
        Self { weights_dtype: WeightsDtype::F32, ..self.clone() }
    }

    /// Opens the device, loads the model, applies the adapters.
    async fn load(&self) -> Result<(Pretrained, ComputeDevice)> {
        self.load_reporting().await.map(|(base, device, _)| (base, device))
    }

    /// As [`Self::load`]; also says how far the adapters change the same numbers.
    async fn load_reporting(&self) -> Result<(Pretrained, ComputeDevice, Vec<Overlap>)> {
        // The adapters are read first: they are small, and a wrong path should not cost the loading of a model.
        let adapters = self.adapters()?;
        let folder = self.folder()?;
        let config = read_config(&folder)?;
        // What an adapter was trained for counts, not what its base model was.
        let purpose = adapters.first().map_or_else(|| Purpose::of_checkpoint(&config), |(first, _)| first.purpose());
        if let Some((other, _)) = adapters.iter().find(|(other, _)| other.purpose() != purpose) {
            return Err(other.error("adapters of different tasks or classes cannot be added up"));
        }
        let device = device::open(&self.device).await?;
        let keeping = self.keeping(&adapters)?;
        let mut base = Pretrained::load_as(&folder, purpose, keeping, &device)?;
        let adapters: Vec<_> = adapters.iter().map(|(adapter, weight)| (adapter, *weight)).collect();
        let overlaps = fold_for_good(&adapters, &mut base, &device)?;
        Ok((base, device, overlaps))
    }
}

/// `FOLDER` or `FOLDER:WEIGHT`.
#[derive(Clone, Debug, PartialEq)]
struct AdapterArg {
    folder: PathBuf,
    weight: f32,
}

impl FromStr for AdapterArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let whole = || Self { folder: text.into(), weight: 1.0 };
        // A path that is there as it stands is a path, whatever its colons.
        if Path::new(text).exists() {
            return Ok(whole());
        }
        let weighted = text.rsplit_once(':').and_then(|(folder, weight)| {
            let weight = weight.parse::<f32>().ok()?;
            (!folder.is_empty() && weight.is_finite()).then(|| Self { folder: folder.into(), weight })
        });
        Ok(weighted.unwrap_or_else(whole))
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever went wrong, as one sentence.
pub fn dispatch(cli: Cli) -> Result<ExitCode> {
    pollster::block_on(async {
        let Some(command) = cli.command else { return window::open(None, Vec::new()) };
        // Under a window it is the desk that trains.
        if !command.opens_window() {
            device::compute_on_this_thread();
        }
        match command {
            Command::Demo(command) => command.run().await,
            Command::Train(command) => command.run().await,
            Command::Estimate(command) => command.run().await,
            Command::Compare(command) => command.run().await,
            Command::Watch(command) => command.run(),
            Command::ServeWeb(command) => command.run(),
            Command::Classify(command) => command.run().await,
            Command::Generate(command) => command.run().await,
            Command::Chat(command) => command.run().await,
            Command::Evaluate(command) => command.run().await,
            Command::Merge(command) => command.run().await,
            Command::Export(command) => command.run(),
            Command::Inspect(command) => command.run(),
            Command::Devices(command) => command.run().await,
            Command::Bench(command) => command.run().await,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_may_have_a_weight_and_a_path_may_have_colons() {
        let there = tempfile::Builder::new().prefix("a:0").suffix(":0.5").tempdir().expect("a folder");
        let read = |text: &str| text.parse::<AdapterArg>().map(|arg| (arg.folder, arg.weight));
        let path = there.path().to_str().expect("UTF-8");
        assert_eq!(read(path), Ok((path.into(), 1.0)));
        assert_eq!(read(&format!("{path}:-2")), Ok((path.into(), -2.0)));
        assert_eq!(read("runs/a:0.7"), Ok(("runs/a".into(), 0.7)));
        assert_eq!(read(r"C:\runs\a"), Ok((r"C:\runs\a".into(), 1.0)));
        assert_eq!(read(r"C:\runs\a:1e-1"), Ok((r"C:\runs\a".into(), 0.1)));
        for whole in ["a:b", ":0.5", "a:nan", "a:"] {
            assert_eq!(read(whole), Ok((whole.into(), 1.0)));
        }
    }
}
