//! Writing files so that a reader never meets a half-written one: to a temporary name, then renamed.

use std::{io::Write, path::Path};

use safetensors::{Dtype, tensor::TensorView};

use crate::{Error, Result};

/// Replaces `path` by `bytes` in one step.
///
/// # Errors
/// The folder cannot be written, or the disk is full; `path` is then as it was.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |e| Error::file("write", path, e);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".agoge-").tempfile_in(folder).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    // Temporary files are private; what a run leaves behind is as readable as any other file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(fail)?;
    }
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
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
