//! Checkpoints: everything a run needs to go on exactly where it was.

use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result, device, files,
    method::Training,
    model::{Transformer, save::cast, weights::Weights},
    storage::{self, Scaffold},
};

const STATE: &str = "state.json";
const TENSORS: &str = "state.safetensors";

/// Numbers of a run at a step. Data position, schedule and random streams are functions of the step and the seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimizer steps done.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Time trained.
    pub elapsed_secs: f64,
    /// Lowest validation loss, and the step it was reached at.
    pub best_eval: Option<(f64, u64)>,
    /// Evaluations since then.
    pub evals_since_best: u64,
    /// Step of the last evaluation.
    #[serde(default)]
    pub evaluated: Option<u64>,
    /// Peak learning rate, where it was changed during the run.
    pub learning_rate: Option<f64>,
    /// Identity of the base model's weights.
    pub base_fingerprint: String,
}

/// Writes a checkpoint folder under `folder`; the folder appears whole or not at all. Older ones beyond `keep` go.
/// `None`, and nothing written, if a number of the state is not finite.
///
/// # Errors
/// The device failed or the disk is full; earlier checkpoints are then as they were.
pub async fn write(
    folder: &Path,
    progress: &Progress,
    training: &Training,
    transformer: &Transformer,
    keep: usize,
) -> Result<Option<PathBuf>> {
    storage::create_dir_all(folder).map_err(|e| Error::file("create", folder, e))?;
    let mut tensors = Vec::new();
    let state = training.state(transformer);
    for (name, values) in state.values {
        let values = device::read(values).await?;
        if values.iter().any(|value| !value.is_finite()) {
            return Ok(None);
        }
        tensors.push((name, Dtype::F32, values.len(), cast(&values, Dtype::F32)?));
    }
    for (name, indices) in state.indices {
        let indices = device::read_indices(indices).await?;
        let bytes = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
        tensors.push((name, Dtype::U32, indices.len(), bytes));
    }
    let bytes = files::safetensors(
        tensors.iter().map(|(name, dtype, len, bytes)| (name.clone(), *dtype, vec![*len], &bytes[..])),
        &[("format", "agoge-checkpoint")],
    )?;
    let place = folder.join(format!("step-{:08}", progress.step));
    let temporary = Scaffold::below(folder).map_err(|e| Error::file("create", folder, e))?;
    files::write(&temporary.path().join(TENSORS), &bytes)?;
    files::write_json(&temporary.path().join(STATE), progress)?;
    if storage::exists(&place) {
        storage::remove_dir_all(&place).map_err(|e| Error::file("replace", &place, e))?;
    }
    storage::rename(temporary.path(), &place).map_err(|e| Error::file("write", &place, e))?;
    let all = list(folder);
    for (_, old) in all.iter().rev().skip(keep.max(1)) {
        storage::remove_dir_all(old).map_err(|e| Error::file("remove", old, e))?;
    }
    Ok(Some(place))
}

/// Whole checkpoints under `folder`, oldest first, with their steps.
pub fn list(folder: &Path) -> Vec<(u64, PathBuf)> {
    let mut found: Vec<(u64, PathBuf)> = storage::list(folder)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|path| {
            let step = path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()?;
            storage::exists(path.join(STATE)).then_some((step, path))
        })
        .collect();
    found.sort();
    found
}

/// Reads a checkpoint: its numbers and its tensors.
///
/// # Errors
/// Files that are missing or damaged.
pub fn read(folder: &Path) -> Result<(Progress, Weights)> {
    let path = folder.join(STATE);
    let text = storage::read_to_string(&path).map_err(|e| Error::file("read", &path, e))?;
    let progress =
        serde_json::from_str(&text).map_err(|e| Error::input(format!("{}: not a checkpoint: {e}", path.display())))?;
    let path = folder.join(TENSORS);
    let bytes = storage::read(&path).map_err(|e| Error::file("read", &path, e))?;
    Ok((progress, Weights::from_bytes(&path.display().to_string(), bytes)?))
}
