//! `metrics.jsonl`: one line a step and one an evaluation, appended as they come.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use crate::{Error, Result, event::Metrics, files};

/// The lines of a `metrics.jsonl`, half-written ones left out; none where there is no file.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path) -> Result<Vec<Metrics>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = std::fs::read(path).map_err(|e| Error::file("read", path, e))?;
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// An open `metrics.jsonl`.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Opens the file for the steps after `done`. Lines of later steps (a run that was killed after its last
    /// checkpoint) and half-written lines are removed first.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: &Path, done: u64) -> Result<Self> {
        if path.exists() {
            let bytes = std::fs::read(path).map_err(|e| Error::file("read", path, e))?;
            let text = String::from_utf8_lossy(&bytes);
            let kept: String = text
                .lines()
                .filter(|line| {
                    serde_json::from_str::<Metrics>(line)
                        .is_ok_and(|metrics| metrics.step <= done && (done > 0 || metrics.loss.is_some()))
                })
                .flat_map(|line| [line, "\n"])
                .collect();
            files::write(path, kept.as_bytes())?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|e| Error::file("open", path, e))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Appends one line, whole or not at all as far as the operating system goes: one write a line.
    ///
    /// # Errors
    /// The disk is full or the file is gone.
    pub fn append(&mut self, metrics: &Metrics) -> Result<()> {
        let line = serde_json::to_string(metrics).map_err(|e| Error::Run(format!("metrics: {e}")))?;
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(|e| Error::file("write", &self.path, e))
    }
}
