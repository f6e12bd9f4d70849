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
mod model_args;
mod output;
mod sampling;
mod serve_web;
mod settings;
mod signals;
mod terminal;
mod train;
mod window;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use serde_json::Value;

use crate::{
    Result,
    config::{OF_MODEL_AND_DATA, RunConfig, settings},
    device, format,
    method::{self, METHODS},
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
    /// Estimate the memory that a run would take, and what would make it fit
    Estimate(Box<estimate::Estimate>),
    /// Train with several methods in turn and compare them in one table
    Compare(Box<compare::Compare>),
    /// Look at runs, running or over, in the live window
    Watch(window::Watch),
    /// Show the page that trains in the browser, on this machine
    ServeWeb(serve_web::ServeWeb),
    /// Classify texts
    Classify(classify::Classify),
    /// Continue a prompt
    Generate(generate::Generate),
    /// Chat with a model
    Chat(chat::Chat),
    /// Loss and perplexity on a data set
    Evaluate(evaluate::Evaluate),
    /// Merge an adapter into its base model and write a model folder
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
                let name = arg.get_id().to_string();
                let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                if name == "method" {
                    let methods = METHODS.iter().map(|entry| format!("{} ({})", entry.name, entry.about));
                    help = format!("{help}: {}", methods.collect::<Vec<_>>().join("; "));
                }
                let readers = method::settings::readers(&name);
                if !readers.is_empty() {
                    help = format!("{help} ({})", readers.join(", "));
                }
                let arg = arg.help(help.clone());
                let default = match &defaults[&name] {
                    Value::Bool(_) | Value::Null | Value::Array(_) => return arg,
                    Value::String(text) if text.is_empty() => return arg,
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
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

/// Runs the subcommand.
///
/// # Errors
/// Whatever went wrong, as one sentence.
pub fn dispatch(cli: Cli) -> Result<ExitCode> {
    pollster::block_on(async {
        let Some(command) = cli.command else { return window::open(None, Vec::new()) };
        // Under a window a worker trains.
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
