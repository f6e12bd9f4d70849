//! `agoge train`

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{
    signals,
    terminal::{Terminal, Verbosity},
    window,
};
use crate::{
    Error, Result,
    config::{Overrides, RunConfig},
    data::DataFiles,
    demo,
    event::messages::Setup,
    method,
    train::{
        Inputs, Run,
        folder::{prepare_out, resume_config},
        place::pin,
    },
};

/// Arguments of `agoge train`.
#[derive(Debug, Args)]
pub(super) struct Train {
    /// Settings from a TOML file; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on with the run in this folder, exactly where its last checkpoint is
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["config", "overwrite"])]
    resume: Option<PathBuf>,
    /// Replace a run that is in the --out folder already
    #[arg(long)]
    overwrite: bool,
    /// Open the live window on the run
    #[arg(long, conflicts_with_all = ["quiet", "json"])]
    pub(super) window: bool,
    #[command(flatten)]
    settings: Overrides,
    #[command(flatten)]
    verbosity: Verbosity,
}

impl Train {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let resume = self.resume.is_some();
        let typed = self.settings.given();
        let mut config = match &self.resume {
            Some(folder) => resume_config(folder, self.settings)?,
            None => {
                let mut config =
                    self.config.as_deref().map_or_else(|| Ok(RunConfig::default()), RunConfig::from_toml)?;
                self.settings.apply(&mut config);
                config
            }
        };
        for (name, path) in [("model", &config.model), ("data", &config.data), ("out", &config.out)] {
            if path.as_os_str().is_empty() {
                return Err(Error::input(format!("--{name} is missing: give it as a flag or in --config")));
            }
        }
        config.check()?;
        method::settings::check_typed(&[method::find(&config.method)?], &typed)?;
        // A typing error in a path should not cost a download.
        let valid = (!config.valid_data.as_os_str().is_empty()).then_some(config.valid_data.as_path());
        DataFiles::find(&demo::data(&config.data)?, valid)?;
        pin(&mut config, self.verbosity.quiet || self.verbosity.json)?;
        if self.window {
            if !resume {
                prepare_out(&config.out, self.overwrite)?;
            }
            let setup = Setup { config, demo: false, resume, overwrite: self.overwrite };
            return window::open(Some(setup), Vec::new());
        }
        let stop = signals::stop_flag();
        let inputs = Inputs::load(&config).await?;
        if !resume {
            prepare_out(&config.out, self.overwrite)?;
        }
        let out = config.out.clone();
        let mut run = Run::new(config, inputs, resume).await?;
        let mut terminal = Terminal::new(self.verbosity);
        terminal.follow(&mut run, &stop, |_| {}).await?;
        terminal.line(&format!("adapter  {}", out.display()));
        Ok(ExitCode::SUCCESS)
    }
}
