//! `metrics.jsonl`: one line a step and one an evaluation.

use std::path::Path;

use crate::{Error, Result, event::Metrics, storage};

/// Name of the file.
pub const FILE: &str = "metrics.jsonl";

/// The lines of a `metrics.jsonl`, half-written ones left out; none where there is no file.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path) -> Result<Vec<Metrics>> {
    if !storage::exists(path) {
        return Ok(Vec::new());
    }
    let bytes = storage::read(path).map_err(|e| Error::file("read", path, e))?;
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}
