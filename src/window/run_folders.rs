//! Folders of runs, recognized by their record.

use std::path::{Path, PathBuf};

use crate::{Error, Result, storage};

/// Whether a folder holds the record of a run.
pub fn is_run(folder: &Path) -> bool {
    storage::exists(folder.join("metrics.jsonl"))
}

/// The run in a folder, or those in the folders directly below it, by name.
///
/// # Errors
/// The folder cannot be read.
pub fn runs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if is_run(folder) {
        return Ok(vec![folder.to_path_buf()]);
    }
    let below = storage::list(folder).map_err(|e| Error::file("read", folder, e))?;
    Ok(below.into_iter().filter(|folder| is_run(folder)).collect())
}
