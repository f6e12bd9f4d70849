//! The folder of a run: made ready for a new run, or read to resume one.

use std::path::Path;

use super::{
    checkpoint::{self, Progress},
    event_log::EVENTS,
    lock, metrics,
};
use crate::{
    Error, Result,
    config::{Overrides, RunConfig},
    data::Digests,
    model::{pretrained::read_config, weights::Weights},
    storage,
};

/// Settings that a resumed run may be given anew; all others are those of the run's own `config.json`.
const RESUMABLE: &[&str] =
    &["steps", "epochs", "device", "eval_steps", "save_steps", "keep_checkpoints", "logging_steps", "patience"];

/// What a run leaves in its folder.
const LEFT: &[&str] = &["adapter.json", "adapter.safetensors", metrics::FILE, EVENTS, "config.json", "checkpoints"];

/// The configuration of the run in `folder`, with the settings laid over it that may change.
///
/// # Errors
/// No run there, one that another process is at, or a typed setting that a resumed run cannot change.
pub fn resume_config(folder: &Path, typed: Overrides) -> Result<RunConfig> {
    let mut config = stored_config(folder)?;
    lock::refuse_held(folder)?;
    if let Some(name) = typed.given().into_iter().find(|name| !RESUMABLE.contains(name)) {
        return Err(unchangeable(name));
    }
    typed.apply(&mut config);
    Ok(config)
}

/// The settings of the run in `folder`, with `out` where it is now.
///
/// # Errors
/// No run there, or settings that cannot be read.
pub fn stored_config(folder: &Path) -> Result<RunConfig> {
    if !storage::exists(folder.join("config.json")) {
        return Err(Error::input(format!(
            "--resume {}: there is no run in this folder (no config.json)",
            folder.display()
        )));
    }
    RunConfig::stored(folder)
}

/// The settings in which `config` differs from those `stored` with a run, although a resumed run cannot change them;
/// each with a sentence that says so.
pub fn unresumable(stored: &RunConfig, config: &RunConfig) -> Vec<(&'static str, String)> {
    let differing = config.differing(stored).into_iter().map(|(name, _)| name);
    // A date that is not given is that of the run.
    let free = |name: &str| RESUMABLE.contains(&name) || (name == "chat_date" && config.chat_date.is_empty());
    differing.filter(|name| !free(name)).map(|name| (name, unchangeable(name).to_string())).collect()
}

fn unchangeable(name: &str) -> Error {
    Error::input(format!(
        "--{} cannot be changed when a run is resumed; start a new run, or leave it out",
        name.replace('_', "-")
    ))
}

/// Makes sure that a new run can be written to `out`, before anything expensive is done.
///
/// # Errors
/// A folder that holds a run already (unless `overwrite`) or a model, or cannot be written.
pub fn prepare_out(out: &Path, overwrite: bool) -> Result<()> {
    check_out(out, overwrite)?;
    storage::create_dir_all(out).map_err(|e| Error::file("create", out, e))?;
    // Proves that the folder can be written.
    storage::prove_writable(out).map_err(|e| Error::file("write to", out, e))?;
    Ok(())
}

/// What can be known of that without writing anything.
///
/// # Errors
/// A folder that holds a run already (unless `overwrite`) or a model, is being trained in, or is no folder.
pub fn check_out(out: &Path, overwrite: bool) -> Result<()> {
    if let Some(above) = out.ancestors().find(|above| storage::exists(above)).filter(|above| !storage::is_dir(above)) {
        return Err(Error::input(format!(
            "--out {}: {} is a file, not a folder; give another folder",
            out.display(),
            above.display()
        )));
    }
    if read_config(out).is_ok_and(|config| config.get("model_type").is_some()) {
        return Err(Error::input(format!(
            "--out {}: there is a model in this folder, which a run would damage; give another folder",
            out.display()
        )));
    }
    lock::refuse_held(out)?;
    if LEFT.iter().any(|name| storage::exists(out.join(name))) && !overwrite {
        return Err(Error::input(format!(
            "--out {}: there is a run in this folder already; use --resume {} to resume it, --overwrite to replace \
             it, or another folder",
            out.display(),
            out.display()
        )));
    }
    Ok(())
}

/// Removes what an earlier run left in `out`.
pub(super) fn clear_out(out: &Path) -> Result<()> {
    for name in LEFT {
        let path = out.join(name);
        let removed = if storage::is_dir(&path) { storage::remove_dir_all(&path) } else { storage::remove_file(&path) };
        match removed {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::file("remove", &path, e)),
            _ => {}
        }
    }
    Ok(())
}

/// The last whole checkpoint of the run in `out`.
pub(super) fn latest_checkpoint(out: &Path) -> Result<(Progress, Weights)> {
    match checkpoint::list(&out.join("checkpoints")).pop() {
        Some((_, folder)) => checkpoint::read(&folder).map_err(|e| {
            Error::input(format!("{e}; remove {} to resume from the checkpoint before it", folder.display()))
        }),
        None => Err(Error::input(format!(
            "--resume {}: this run has no checkpoint yet; start it anew with --overwrite",
            out.display()
        ))),
    }
}

/// Refuses to resume the run in `out` with data that are not those it was trained on, where its checkpoint knows them.
pub(super) fn refuse_other_data(out: &Path, before: Option<&Digests>, now: &Digests) -> Result<()> {
    let differing = before.map(|before| before.differing(now)).unwrap_or_default();
    if differing.is_empty() {
        return Ok(());
    }
    Err(Error::input(format!(
        "--resume {0}: {1} changed since this run began; put the original files back, or start a new run \
         (--init-adapter {0} begins with the adapter of this one)",
        out.display(),
        differing.join(" and ")
    )))
}
