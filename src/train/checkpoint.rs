//! Checkpoints: everything that a resumed run needs to be the same run.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    data::Digests,
    device, files,
    method::Training,
    model::{Transformer, save::cast, weights::Weights},
    storage::{self, Scaffold},
};

const STATE: &str = "state.json";
const TENSORS: &str = "state.safetensors";

/// Figures of a run at a step. Data position, schedule and random streams are functions of the step and the seed.
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
    /// Identity of the data; checkpoints of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Digests>,
}

/// Writes a checkpoint folder under `folder`; the folder appears whole or not at all. Older ones beyond `keep` go.
/// `None`, and nothing written, if a value of the state is not finite.
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
    replace(temporary.path(), &place, &aside(folder, progress.step)).map_err(|e| Error::file("write", &place, e))?;
    let all = list(folder);
    for (_, old) in all.iter().rev().skip(keep.max(1)) {
        storage::remove_dir_all(old).map_err(|e| Error::file("remove", old, e))?;
    }
    // Replaced ones that a process has left which ended before it removed them.
    for path in storage::list(folder).unwrap_or_default() {
        let is_aside = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(ASIDE));
        if is_aside && all.iter().all(|(_, whole)| *whole != path) {
            storage::remove_dir_all(&path).map_err(|e| Error::file("remove", &path, e))?;
        }
    }
    Ok(Some(place))
}

const WHOLE: &str = "step-";
const ASIDE: &str = ".replaced-";

/// Where the checkpoint of a step is while another one takes its place.
fn aside(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("{ASIDE}{step:08}"))
}

/// Puts the folder `new` in its place. What is there goes `aside` first and is removed last, so that at each moment one
/// of the two is whole under a name that [`list`] knows.
fn replace(new: &Path, place: &Path, aside: &Path) -> io::Result<()> {
    let replaces = storage::exists(place);
    if replaces {
        if storage::exists(aside) {
            storage::remove_dir_all(aside)?;
        }
        storage::rename(place, aside)?;
    }
    if let Err(error) = storage::rename(new, place) {
        if replaces {
            storage::rename(aside, place)?;
        }
        return Err(error);
    }
    if storage::exists(aside) { storage::remove_dir_all(aside) } else { Ok(()) }
}

/// Whole checkpoints under `folder`, oldest first, with their steps. Where a process ended while it replaced one, the
/// old one counts.
pub fn list(folder: &Path) -> Vec<(u64, PathBuf)> {
    let mut found = BTreeMap::new();
    let paths = storage::list(folder).unwrap_or_default();
    for prefix in [ASIDE, WHOLE] {
        let step = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix(prefix)?.parse::<u64>().ok();
        let whole = paths.iter().filter(|path| storage::exists(path.join(STATE)));
        found.extend(whole.filter_map(|path| Some((step(path)?, path.clone()))));
    }
    found.into_iter().collect()
}

/// Reads a checkpoint: its figures and its tensors.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(place: &Path, tokens: u64) {
        std::fs::create_dir_all(place).expect("a folder");
        let progress = Progress { step: 7, tokens, ..Progress::default() };
        files::write_json(&place.join(STATE), &progress).expect("written");
        files::write(&place.join(TENSORS), &files::safetensors([], &[]).expect("bytes")).expect("written");
    }

    fn tokens(folder: &Path) -> Vec<(u64, u64)> {
        list(folder).iter().map(|(step, path)| (*step, read(path).expect("whole").0.tokens)).collect()
    }

    #[test]
    fn there_is_no_moment_without_the_checkpoint_that_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let (place, new, aside) = (folder.join("step-00000007"), folder.join(".writing-x"), aside(folder, 7));
        checkpoint(&place, 1);
        // The second rename fails: the old one is back in its place.
        assert!(replace(&new, &place, &aside).is_err());
        assert_eq!(tokens(folder), [(7, 1)]);
        assert!(place.exists() && !aside.exists());
        // The process ends between the two renames: the old one counts, and a run goes on from it.
        checkpoint(&new, 2);
        std::fs::rename(&place, &aside).expect("renamed");
        assert_eq!(tokens(folder), [(7, 1)]);
        // The next one takes the place of both.
        replace(&new, &place, &aside).expect("replaced");
        assert_eq!(tokens(folder), [(7, 2)]);
        assert!(!aside.exists() && !new.exists());
        // It ends before the old one is removed.
        checkpoint(&aside, 1);
        assert_eq!(tokens(folder), [(7, 2)]);
        checkpoint(&new, 3);
        replace(&new, &place, &aside).expect("replaced");
        assert_eq!(tokens(folder), [(7, 3)]);
        assert!(!aside.exists());
    }

    #[test]
    fn checkpoints_of_earlier_versions_are_read() {
        let old = r#"{"step": 3, "tokens": 9, "elapsed_secs": 1.5, "best_eval": null, "evals_since_best": 0,
            "learning_rate": null, "base_fingerprint": "f"}"#;
        let progress: Progress = serde_json::from_str(old).expect("progress");
        assert_eq!((progress.step, progress.data), (3, None));
    }
}
