//! What the window is opened with, and what it returns when it is closed.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use crate::{config::RunConfig, event::messages::Setup};

/// What the window is opened with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where new runs are written unless another folder is chosen.
    pub runs_folder: PathBuf,
    /// Settings of the demo.
    pub demo: RunConfig,
    /// Values of the settings that take a name: setting, then the names.
    pub choices: Vec<(&'static str, Vec<String>)>,
    /// Methods, and the settings that each reads of those that not every method reads.
    pub method_settings: Vec<(&'static str, &'static [&'static str])>,
    /// For a chosen method, the two methods that can be compared: the second is trained after the first, with as many
    /// trainable parameters.
    pub comparisons: Vec<(&'static str, [&'static str; 2])>,
    /// Formats that an adapter can be exported to: name and description.
    pub layouts: Vec<(String, String)>,
    /// Files by which a folder is known to hold an adapter.
    pub adapter_files: Vec<&'static str>,
    /// A run to start at once.
    pub start: Option<Setup>,
    /// Folders of runs to show.
    pub watch: Vec<PathBuf>,
    /// Whether to offer to resume a run that was interrupted: on a page, which can be closed at any time.
    pub offers_resume: bool,
    /// Becomes true when the program is told to end (Ctrl-C): the window closes and the run is stopped and saved.
    pub stop: Arc<AtomicBool>,
}

/// What becomes of a run that is training when the window is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closing {
    /// Stop it and save.
    #[default]
    Stop,
    /// Let it run to its end without a window.
    LeaveRunning,
}
