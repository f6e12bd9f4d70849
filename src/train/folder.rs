//! The folder of a run: made ready for a new run, or read to go on with an old one.

use std::path::Path;

use super::checkpoint::{self, Progress};
use crate::{
    Error, Result,
    config::{Overrides, RunConfig},
    model::{pretrained::read_config, weights::Weights},
};

/// Settings that a resumed run may be given anew; all others are those of the run's own `config.json`.
const RESUMABLE: &[&str] =
    &["steps", "epochs", "device", "eval_steps", "save_steps", "keep_checkpoints", "logging_steps", "patience"];

/// The configuration of the run in `folder`, with the settings laid over it that may change.
///
/// # Errors
/// No run there, or a typed setting that a resumed run cannot change.
pub fn resume_config(folder: &Path, typed: Overrides) -> Result<RunConfig> {
    let path = folder.join("config.json");
    if !path.exists() {
        return Err(Error::input(format!(
            "--resume {}: there is no run in this folder (no config.json)",
            folder.display()
        )));
    }
    if let Some(name) = typed.given().into_iter().find(|name| !RESUMABLE.contains(name)) {
        return Err(Error::input(format!(
            "--{} cannot be changed when a run is resumed; start a new run, or leave it out",
            name.replace('_', "-")
        )));
    }
    let text = std::fs::read_to_string(&path).map_err(|e| Error::file("read", &path, e))?;
    let mut config: RunConfig = serde_json::from_str(&text)
        .map_err(|e| Error::input(format!("{}: not the settings of a run: {e}", path.display())))?;
    typed.apply(&mut config);
    config.out = folder.to_path_buf();
    Ok(config)
}

/// Makes sure that a new run can be written to `out`, before anything expensive is done.
///
/// # Errors
/// A folder that holds a run already (unless `overwrite`) or a model, or cannot be written.
pub fn prepare_out(out: &Path, overwrite: bool) -> Result<()> {
    if read_config(out).is_ok_and(|config| config.get("model_type").is_some()) {
        return Err(Error::input(format!(
            "--out {}: there is a model in this folder, which a run would damage; give another folder",
            out.display()
        )));
    }
    let in_use =
        ["config.json", "adapter.json", "metrics.jsonl", "checkpoints"].iter().any(|name| out.join(name).exists());
    if in_use && !overwrite {
        return Err(Error::input(format!(
            "--out {}: there is a run in this folder already; use --resume {} to go on with it, --overwrite to replace \
             it, or another folder",
            out.display(),
            out.display()
        )));
    }
    std::fs::create_dir_all(out).map_err(|e| Error::file("create", out, e))?;
    // Proves that the folder can be written.
    tempfile::tempfile_in(out).map_err(|e| Error::file("write to", out, e))?;
    Ok(())
}

/// Removes what an earlier run left in `out`.
pub(super) fn clear_out(out: &Path) -> Result<()> {
    for name in ["adapter.json", "adapter.safetensors", "metrics.jsonl", "config.json"] {
        let path = out.join(name);
        if path.exists() {
            std::fs::remove_file(&path).map_err(|e| Error::file("remove", &path, e))?;
        }
    }
    let checkpoints = out.join("checkpoints");
    if checkpoints.exists() {
        std::fs::remove_dir_all(&checkpoints).map_err(|e| Error::file("remove", &checkpoints, e))?;
    }
    Ok(())
}

/// The last whole checkpoint of the run in `out`.
pub(super) fn latest_checkpoint(out: &Path) -> Result<(Progress, Weights)> {
    match checkpoint::list(&out.join("checkpoints")).pop() {
        Some((_, folder)) => checkpoint::read(&folder).map_err(|e| {
            Error::input(format!("{e}; remove {} to go on from the checkpoint before it", folder.display()))
        }),
        None => Err(Error::input(format!(
            "--resume {}: this run has no checkpoint yet; start it anew with --overwrite",
            out.display()
        ))),
    }
}
