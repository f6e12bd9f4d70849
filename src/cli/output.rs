//! Text on standard output, as it comes.

use std::io::Write;

use crate::{Error, Result};

/// Writes `text` at once, also where it does not end a line.
pub(super) fn put(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Error::Run(format!("cannot write to standard output: {e}")))
}
