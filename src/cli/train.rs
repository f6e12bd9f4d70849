//! `agoge train`

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{
    settings, signals,
    terminal::{Terminal, Verbosity},
    window,
};
use crate::{
    Result,
    config::Overrides,
    event::messages::Setup,
    method,
    session::{Checked, OpenDevices, launch},
    train::folder::resume_config,
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
        let typed = self.settings.given();
        let config = match &self.resume {
            Some(folder) => resume_config(folder, self.settings)?,
            None => settings::read(self.config.as_deref(), self.settings, &["model", "data", "out"])?,
        };
        method::settings::check_typed(&[method::find(&config.method)?], &typed)?;
        let setup = Setup { config, demo: false, resume: self.resume.is_some(), overwrite: self.overwrite };
        let report = self.verbosity.report();
        if self.window {
            // A download is better followed here.
            let pinned = Checked::new(&setup)?.pin(report)?;
            return window::open(Some(pinned.setup()), Vec::new());
        }
        let stop = signals::stop_flag();
        let mut session = launch(&setup, &OpenDevices::default(), report).await?;
        let mut terminal = Terminal::new(self.verbosity);
        terminal.follow(&mut session, &stop, |_| {}).await?;
        terminal.line(&format!("adapter  {}", setup.config.out.display()));
        Ok(ExitCode::SUCCESS)
    }
}
