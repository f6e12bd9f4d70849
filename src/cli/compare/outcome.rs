//! What one run of a comparison came to, kept beside it so that an interrupted comparison can continue.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    Result,
    config::RunConfig,
    files,
    train::{Run, classification::Classification, evaluate::Evaluation},
};

const FILE: &str = "result.json";
const BEGUN: &str = "comparing.json";

/// Figures of one run; validation and test are those of the model as it is after the last step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub method: String,
    pub seed: u64,
    pub learning_rate: f64,
    /// All trainable parameters.
    pub trained_parameters: usize,
    /// Those outside of a classification head.
    pub trained_in_body: usize,
    /// Mean loss of the last tenth of the steps.
    pub train_loss: f64,
    pub valid: Option<Figures>,
    pub test: Option<Figures>,
    pub secs_per_step: f64,
    /// Live tensors on a GPU; the whole process on the CPU.
    pub peak_memory_bytes: u64,
    pub adapter_bytes: u64,
    /// The resolved settings.
    pub config: RunConfig,
}

/// Figures on one set of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    pub loss: f64,
    pub classification: Option<Classification>,
}

impl From<Evaluation> for Figures {
    fn from(evaluation: Evaluation) -> Self {
        Self { loss: evaluation.loss, classification: evaluation.classification }
    }
}

impl Outcome {
    pub(super) fn new(
        config: &RunConfig,
        method: String,
        run: &Run,
        losses: &[f64],
        peak_memory_bytes: u64,
        valid: Option<Evaluation>,
        test: Option<Evaluation>,
    ) -> Self {
        let trained = run.training().trained();
        let head = run.inputs().base.transformer.head.classifier_names();
        let last = &losses[losses.len() - losses.len().div_ceil(10)..];
        let size = |name: &str| std::fs::metadata(config.out.join(name)).map_or(0, |meta| meta.len());
        Self {
            method,
            seed: config.seed,
            learning_rate: run.config().learning_rate,
            trained_parameters: trained.iter().map(|tensor| tensor.trained).sum(),
            trained_in_body: trained.iter().filter(|tensor| !head.contains(&tensor.name)).map(|t| t.trained).sum(),
            train_loss: last.iter().sum::<f64>() / last.len().max(1) as f64,
            valid: valid.map(Figures::from),
            test: test.map(Figures::from),
            secs_per_step: run.elapsed_secs() / losses.len().max(1) as f64,
            peak_memory_bytes,
            adapter_bytes: size("adapter.safetensors") + size("adapter.json"),
            config: config.clone(),
        }
    }

    /// The outcome of a complete run with exactly these settings.
    pub(super) fn read(config: &RunConfig) -> Option<Self> {
        let text = std::fs::read_to_string(config.out.join(FILE)).ok()?;
        serde_json::from_str(&text).ok().filter(|outcome: &Self| outcome.config == *config)
    }

    /// Marks a run as one that may be done again if it is not completed.
    pub(super) fn begin(config: &RunConfig) -> Result<()> {
        files::write_json(&config.out.join(BEGUN), config)
    }

    /// Whether `out` holds a run of a comparison, and not somebody's own.
    pub(super) fn unfinished(out: &Path) -> bool {
        out.join(BEGUN).exists()
    }

    pub(super) fn write(&self, config: &RunConfig) -> Result<()> {
        files::write_json(&config.out.join(FILE), self)
    }
}
