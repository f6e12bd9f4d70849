//! Parquet where it cannot be read: on a page, which has none of its decompressors in C, and without the feature `parquet`.

use super::record::Visit;
use super::source::Source;
use crate::error::{Error, Result};

/// Refuses the file.
pub(crate) fn read(source: &Source, _visit: &mut Visit) -> Result<()> {
    let why = if cfg!(target_arch = "wasm32") {
        "a page does not read Parquet; convert it to JSON Lines or CSV, or use the program"
    } else {
        "this build does not read Parquet (Cargo feature `parquet`); convert it to JSON Lines or CSV"
    };
    Err(Error::input(format!("{}: {why}", source.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parquet_file_is_refused_with_the_feature_that_is_missing() {
        let source = Source::from_bytes("a.parquet", b"PAR1").expect("bytes");
        let error = read(&source, &mut |_, _| Ok(())).expect_err("no Parquet").to_string();
        assert!(error.contains("a.parquet") && error.contains("`parquet`"), "{error}");
    }
}
