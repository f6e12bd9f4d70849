//! The messages between a front end and the workers behind it. The workers own device and tensors and run on threads (in
//! a browser: a worker) of their own; a front end sends a [`Request`], never waits, and receives [`Reply`]s. All of it is
//! plain data, so that it can cross a thread, a process or a browser's worker.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Command, Event};
use crate::config::RunConfig;

/// What a front end asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// List the devices. Answered by [`Reply::Devices`].
    Devices,
    /// Check a run without starting it. Answered by [`Reply::Checked`]; of several checks that wait only the last is done.
    Check {
        /// Comes back in the answer.
        number: u64,
        /// The run.
        setup: Box<Setup>,
    },
    /// Start a run. Answered by [`Reply::State`], then by its events.
    Start {
        /// The run.
        setup: Box<Setup>,
    },
    /// Send a command to the run that is under way.
    Tell {
        /// What.
        command: Command,
    },
    /// Pause the run after its step; it stays in memory.
    Pause,
    /// Resume a paused run.
    Resume,
    /// Follow the run in a folder, whoever runs it, from its beginning: its past first, then what comes. Answered by
    /// [`Reply::Watched`].
    Watch {
        /// Folder of the run.
        folder: PathBuf,
    },
    /// Follow it no longer.
    Forget {
        /// Folder of the run.
        folder: PathBuf,
    },
    /// Send a command to a run in another process, which reads it at its next report. Where nobody trains, [`Reply::Watched`]
    /// says so.
    TellFolder {
        /// Folder of the run.
        folder: PathBuf,
        /// What.
        command: Command,
    },
    /// Continue a prompt with the adapter of a run and without it. Answered by [`Reply::Text`] as the text comes, first of
    /// the one side and then of the other, and by [`Reply::Task`] at the end.
    Generate {
        /// Comes back in the answers.
        number: u64,
        /// Folder of the run.
        folder: PathBuf,
        /// What is continued.
        prompt: String,
        /// 0 takes the most likely token.
        temperature: f32,
        /// Most tokens of each side.
        max_tokens: usize,
        /// Seed of the draw.
        seed: u64,
    },
    /// Write no more text: all generations asked for so far are complete as they are.
    StopGenerating,
    /// Merge the adapter of a run into its base model and write a model folder. Answered by [`Reply::Task`].
    Merge {
        /// Comes back in the answers.
        number: u64,
        /// Folder of the run.
        folder: PathBuf,
        /// Folder of the merged model.
        out: PathBuf,
    },
    /// Write the adapter of a run in the layout of another program. Answered by [`Reply::Task`].
    Export {
        /// Comes back in the answers.
        number: u64,
        /// Folder of the run.
        folder: PathBuf,
        /// Name of the layout.
        format: String,
        /// Folder of the adapter.
        out: PathBuf,
    },
}

/// A run to check or to start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// Its settings.
    pub config: RunConfig,
    /// Whether model and data are those inside this program; `config.model` and `config.data` are not read then.
    pub demo: bool,
    /// Whether to resume the run in `config.out`. The other settings are then those that are stored there, except the
    /// few that may change.
    pub resume: bool,
    /// Whether a run that is in `config.out` already may be replaced.
    pub overwrite: bool,
}

/// What a front end receives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The devices, best first.
    Devices {
        /// One line each.
        devices: Vec<DeviceLine>,
    },
    /// A checked run.
    Checked {
        /// Of the request.
        number: u64,
        /// What is wrong, by setting; a run with faults cannot start.
        faults: Vec<Fault>,
        /// What model and data are, for a person to see that they are the right ones.
        facts: Vec<String>,
        /// The memory it will take, as far as model and data are known.
        estimate: Option<Estimate>,
    },
    /// What the run under way is doing.
    State {
        /// That.
        state: RunState,
    },
    /// An event of the run under way.
    Event {
        /// That.
        event: Box<Event>,
    },
    /// News of a watched folder.
    Watched {
        /// Folder of the run.
        folder: PathBuf,
        /// What happened since the last news, in order.
        events: Vec<Event>,
        /// Whether the run began anew in the same folder: what was received of it before is void.
        anew: bool,
        /// Whether some process is at it.
        running: bool,
        /// What could not be read, as a sentence.
        problem: Option<String>,
    },
    /// A stretch of generated text.
    Text {
        /// Of the request.
        number: u64,
        /// Whether the adapter was on.
        adapted: bool,
        /// The text since the last answer.
        text: String,
        /// Whether this side is complete.
        done: bool,
    },
    /// How far a merge, an export or a generation is.
    Task {
        /// Of the request.
        number: u64,
        /// What was done, or what is being done.
        text: String,
        /// How it ended; `None` while it continues.
        ending: Option<TaskEnding>,
    },
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskEnding {
    /// It is done.
    Done,
    /// It failed; the text says why.
    Failed,
}

/// What the run under way is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RunState {
    /// There is none.
    #[default]
    Idle,
    /// Model and data are loaded.
    Preparing {
        /// What exactly, as half a sentence.
        what: String,
    },
    /// It trains.
    Running,
    /// It is paused and can continue.
    Paused,
    /// It is over.
    Ended,
    /// It is over because something went wrong.
    Failed {
        /// What, and what to do.
        message: String,
    },
}

/// A device as a person chooses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLine {
    /// What `--device` takes.
    pub choice: String,
    /// Its name, its kind and its API.
    pub name: String,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Name of the setting, as in [`RunConfig`]; empty where no single one is to blame.
    pub setting: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// The memory that a run will take, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// Its parts, by name.
    pub parts: Vec<(String, u64)>,
    /// Their sum: the peak.
    pub total_bytes: u64,
    /// What the device has, where it says so.
    pub limit_bytes: Option<u64>,
    /// What would make it fit, one sentence each; empty where it fits.
    pub advice: Vec<String>,
}
