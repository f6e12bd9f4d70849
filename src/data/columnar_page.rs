//! Parquet on a page: its decompressors are C, which no page has.

use super::record::Visit;
use super::source::Source;
use crate::error::{Error, Result};

/// Refuses the file.
pub(crate) fn read(source: &Source, _visit: &mut Visit) -> Result<()> {
    Err(Error::input(format!(
        "{}: a page does not read Parquet; convert it to JSON Lines or CSV, or use the program",
        source.name()
    )))
}
