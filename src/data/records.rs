//! Rows with named columns as JSON objects, whatever file they come from.
//!
//! How each format is read stands in its own file (`json`, `table`, `columnar`); what the columns mean is decided by who
//! asks (`language`, `classify`).

use super::format::Format;
use super::record::Visit;
use super::source::Source;
use super::{columnar, json, table};
use crate::error::{Error, Result};

/// Gives all rows of `source` to `visit`, in order, until it returns an error.
///
/// # Errors
/// What `visit` returns, and what makes the rest of the file unreadable.
pub(crate) fn read(source: &Source, visit: &mut Visit) -> Result<()> {
    match source.format()? {
        Format::JsonLines => json::read_lines(source, visit),
        Format::JsonArray => json::read_array(source, visit),
        Format::Table { delimiter } => table::read(source, delimiter, visit),
        Format::Parquet => columnar::read(source, visit),
        Format::PlainText => Err(Error::input(format!(
            "{} is plain text without columns: rows with named columns are read from JSON Lines, Parquet, and .csv \
             or .tsv with a header line",
            source.name()
        ))),
    }
}
