//! Writing files so that a reader never meets a half-written one: to a temporary name, then renamed.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use safetensors::{Dtype, tensor::TensorView};

use crate::{Error, Result, storage::Part};

/// A file that appears under its name only when it is [finished](Self::finish); until then nothing is seen of it.
#[derive(Debug)]
pub struct Pending {
    path: PathBuf,
    file: BufWriter<Part>,
}

impl Pending {
    /// Starts a file that will replace `path`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let file = BufWriter::new(Part::beside(path).map_err(|e| Error::file("write", path, e))?);
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The disk is full.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::file("write", &self.path, e))
    }

    /// Puts the file in its place, in one step.
    ///
    /// # Errors
    /// The disk is full; what was under the name is then as it was.
    pub fn finish(self) -> Result<()> {
        let fail = |e| Error::file("write", &self.path, e);
        let file = self.file.into_inner().map_err(|e| fail(e.into_error()))?;
        file.persist(&self.path).map_err(fail)
    }
}

/// Replaces `path` by `bytes` in one step.
///
/// # Errors
/// The folder cannot be written, or the disk is full; `path` is then as it was.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = Pending::create(path)?;
    file.append(bytes)?;
    file.finish()
}

/// Writes a value as indented JSON.
///
/// # Errors
/// As [`write()`].
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::Run(format!("{} cannot be written as JSON: {e}", path.display())))?;
    write(path, format!("{text}\n").as_bytes())
}

/// The bytes of a safetensors file with these tensors (name, type, shape, little-endian bytes) and metadata.
///
/// # Errors
/// A shape that does not fit its bytes.
pub fn safetensors<'a>(
    tensors: impl IntoIterator<Item = (String, Dtype, Vec<usize>, &'a [u8])>,
    metadata: &[(&str, &str)],
) -> Result<Vec<u8>> {
    let fail = |e| Error::Run(format!("weights cannot be written: {e}"));
    let views: Vec<(String, TensorView<'a>)> = tensors
        .into_iter()
        .map(|(name, dtype, dims, bytes)| Ok((name, TensorView::new(dtype, dims, bytes).map_err(fail)?)))
        .collect::<Result<_>>()?;
    // Without any the header has no place for them, as other writers do it.
    let metadata = (!metadata.is_empty())
        .then(|| metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect());
    safetensors::serialize(views, metadata).map_err(fail)
}
