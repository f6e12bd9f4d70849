//! Everything a run emits and the commands it takes: plain numbers and strings, the same for terminal, window, page and tests.

mod figure;
pub mod messages;

use serde::{Deserialize, Serialize};

pub use crate::data::DataReport;

/// One trained tensor, for reports and for the window's map of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainedTensor {
    /// Parameter name in the checkpoint.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How many of its entries are trained.
    pub trained: usize,
}

/// What a run is, emitted once at its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// Device name, API and kind, and why it was chosen.
    pub device: String,
    /// Model folder name.
    pub model: String,
    /// Method name.
    pub method: String,
    /// Parameters of the model.
    pub total_parameters: usize,
    /// How many of them are trained.
    pub trained_parameters: usize,
    /// Where they are.
    pub trained: Vec<TrainedTensor>,
    /// Optimizer steps of the whole run.
    pub steps: u64,
    /// Steps already done (a resumed run).
    pub done: u64,
    /// Batches in an epoch.
    pub batches_per_epoch: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Memory that the device has, where it says so, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// What was chosen so that the run fits the memory, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_choice: Option<String>,
}

/// One optimizer step, or one evaluation (then `eval_loss` is there and `loss` is not). A line of `metrics.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Optimizer steps done, from 1; 0 is the evaluation before training.
    pub step: u64,
    /// Mean loss over the target tokens of the step, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "figure::optional")]
    pub loss: Option<f64>,
    /// Mean loss over the target tokens of the validation set, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "figure::optional")]
    pub eval_loss: Option<f64>,
    /// Share of the validation rows whose class was found (classification).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "figure::optional")]
    pub eval_accuracy: Option<f64>,
    /// Learning rate of the step.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "figure::optional")]
    pub learning_rate: Option<f64>,
    /// Global gradient norm before clipping.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "figure::optional")]
    pub grad_norm: Option<f64>,
    /// Tokens trained on so far, padding not counted.
    pub tokens: u64,
    /// Speed since the last report.
    pub tokens_per_sec: f64,
    /// Time trained, over all sessions of the run.
    pub elapsed_secs: f64,
    /// Expected time to the end.
    pub remaining_secs: f64,
    /// Memory of live tensors inside the last step that was reported (GPU), or of the process (CPU).
    pub memory_in_use_bytes: u64,
    /// Memory that the allocator holds on the device, the most inside that step (GPU); as `memory_in_use_bytes` on the CPU.
    pub memory_reserved_bytes: u64,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All steps are done.
    Completed,
    /// The validation loss stopped falling.
    EarlyStop,
    /// Someone asked it to stop; it can be resumed.
    Stopped,
}

/// Something a run reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run begins.
    Started(Box<Started>),
    /// How the data was understood.
    Data {
        /// Rows, tokens, an example.
        report: Box<DataReport>,
    },
    /// An optimizer step is done.
    Step(Metrics),
    /// The validation set was evaluated.
    Evaluated {
        /// The figures.
        #[serde(flatten)]
        metrics: Metrics,
        /// `exp(eval_loss)`.
        #[serde(with = "figure::plain")]
        perplexity: f64,
        /// Whether this is the best so far.
        best: bool,
    },
    /// What the model says to a prompt at this point.
    Sample {
        /// Steps done.
        step: u64,
        /// The prompt.
        prompt: String,
        /// Its continuation.
        text: String,
    },
    /// A checkpoint was written.
    Saved {
        /// Steps done.
        step: u64,
        /// Folder of the checkpoint.
        path: String,
    },
    /// The run is over and its adapter is written.
    Finished {
        /// Why.
        ending: Ending,
        /// Steps done.
        step: u64,
        /// Lowest validation loss and the step it was reached at.
        best_eval: Option<(f64, u64)>,
        /// Time trained, over all sessions of the run.
        elapsed_secs: f64,
        /// Tokens trained on.
        tokens: u64,
    },
    /// The run is over because something went wrong. Only a run's record has it: who polls the run gets the error.
    Failed {
        /// What, and what to do.
        message: String,
    },
}

impl Event {
    /// Steps done when it happened, where it says so.
    pub fn step(&self) -> Option<u64> {
        match self {
            Self::Started(started) => Some(started.done),
            Self::Step(metrics) | Self::Evaluated { metrics, .. } => Some(metrics.step),
            Self::Sample { step, .. } | Self::Saved { step, .. } | Self::Finished { step, .. } => Some(*step),
            Self::Data { .. } | Self::Failed { .. } => None,
        }
    }
}

/// Something a run is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", content = "value", rename_all = "snake_case")]
pub enum Command {
    /// Finish the step, save, leave.
    Stop,
    /// Write a checkpoint now.
    Save,
    /// Use this peak learning rate from now on; nothing changes if it is negative or not finite.
    SetLearningRate(f64),
    /// Stand still after the step. A run that is not polled stands still too; this asks the one who polls.
    Pause,
    /// Go on.
    Resume,
}
