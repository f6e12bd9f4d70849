//! `agoge` alone, `agoge watch` and `--window` in a program that was built without the live window (Cargo feature `window`).

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{Error, Result, event::messages::Setup};

/// Arguments of `agoge watch`.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Folders of runs, running or over, or folders with such folders in them
    #[arg(value_name = "FOLDER", required = true)]
    folders: Vec<PathBuf>,
}

impl Watch {
    pub(super) fn run(self) -> Result<ExitCode> {
        open(None, self.folders)
    }
}

/// Says that there is no window.
///
/// # Errors
/// Always.
pub(super) fn open(_start: Option<Setup>, _watch: Vec<PathBuf>) -> Result<ExitCode> {
    Err(Error::input(
        "this build has no live window (Cargo feature `window`); use the commands that `agoge --help` lists, such as \
         train, demo and inspect",
    ))
}
