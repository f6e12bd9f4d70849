//! How a file is read: decided by how its bytes begin, and by its name where it promises JSON, CSV or TSV.

use crate::error::{Error, Result};

/// How a source's bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    JsonLines,
    /// One JSON list of objects.
    JsonArray,
    /// Records below a header line, fields separated by `delimiter`.
    Table {
        /// A comma, a tab or a semicolon.
        delimiter: u8,
    },
    /// Parquet, of which the columns are read.
    Parquet,
    /// Documents separated by blank lines.
    PlainText,
}

/// How a Parquet file begins (and ends).
const PARQUET: &[u8] = b"PAR1";

/// How well-known files that are neither text nor JSON begin.
const MAGIC: [(&[u8], &str); 5] = [
    (b"ARROW1", "an Arrow file"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"PK\x03\x04", "a zip file"),
    (b"\xff\xfe", "UTF-16 text"),
];

/// The delimiters that a header line is searched for, the likeliest first.
const DELIMITERS: [u8; 3] = [b'\t', b',', b';'];

/// Whether `bytes` are a Parquet file.
pub(crate) fn is_parquet(bytes: &[u8]) -> bool {
    bytes.starts_with(PARQUET)
}

impl Format {
    /// The format of a file called `name` with these `bytes` (without a byte order mark): Parquet where they begin so, JSON
    /// Lines where the first non-blank character is `{`, a JSON list where it is `[` before an object. Else the name
    /// decides: `.json`, `.jsonl` and `.ndjson` are read as JSON Lines, whose reader names the line that is not, `.csv`
    /// and `.tsv` are tables, and everything else is plain text.
    ///
    /// # Errors
    /// When the bytes are a binary file, which would make poor plain text.
    pub(crate) fn of(name: &str, bytes: &[u8]) -> Result<Self> {
        if is_parquet(bytes) {
            return Ok(Self::Parquet);
        }
        let text = bytes.trim_ascii_start();
        if text.starts_with(b"{") {
            return Ok(Self::JsonLines);
        }
        if let Some(inside) = text.strip_prefix(b"[")
            && (inside.trim_ascii_start().starts_with(b"{") || inside.trim_ascii() == b"]")
        {
            return Ok(Self::JsonArray);
        }
        for (magic, what) in MAGIC {
            if text.starts_with(magic) {
                return Err(Error::input(format!(
                    "{name} is {what}: convert it to JSON Lines, CSV, Parquet or UTF-8 plain text first"
                )));
            }
        }
        Ok(match extension(name).as_str() {
            "json" | "jsonl" | "ndjson" => Self::JsonLines,
            "csv" => Self::Table { delimiter: delimiter(b',', text) },
            "tsv" => Self::Table { delimiter: delimiter(b'\t', text) },
            _ => Self::PlainText,
        })
    }
}

/// The extension of a file in small letters, without that of a compression in front of which it stands.
fn extension(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let name = [".gz", ".zst", ".zstd", ".bz2", ".xz"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    name.rsplit_once('.').map(|(_, extension)| extension.to_string()).unwrap_or_default()
}

/// The delimiter of a table whose name promises one. The header line decides where it lacks that one.
fn delimiter(promised: u8, text: &[u8]) -> u8 {
    let header = text.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let found = std::iter::once(promised).chain(DELIMITERS).find(|delimiter| header.contains(delimiter));
    found.unwrap_or(promised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_decides_first() {
        let format = |bytes: &[u8]| Format::of("x", bytes);
        assert_eq!(format(b"\n  {\"text\": 1}").expect("format"), Format::JsonLines);
        assert_eq!(format(b"Once {").expect("format"), Format::PlainText);
        assert_eq!(format(b"[INST] x").expect("format"), Format::PlainText);
        assert_eq!(format(b"[\n {\"text\": 1}]").expect("format"), Format::JsonArray);
        assert_eq!(format(b"label\ttext\n1\ta").expect("format"), Format::PlainText);
        assert_eq!(format(b"PAR1....").expect("format"), Format::Parquet);
        assert!(format(b"ARROW1..").expect_err("arrow").to_string().contains("an Arrow file: convert it"));
    }

    #[test]
    fn names_promise_tables_and_json() {
        let table = |name: &str, header: &str| Format::of(name, header.as_bytes()).expect("format");
        assert_eq!(table("x.tsv", "label\ttext\n1\ta"), Format::Table { delimiter: b'\t' });
        assert_eq!(table("x.CSV", "label;text\n1;a"), Format::Table { delimiter: b';' });
        assert_eq!(table("x.txt", "label\ttext\n1\ta"), Format::PlainText);
        for name in ["x.json", "x.jsonl", "a.b/X.NDJSON", "x.jsonl.gz"] {
            for text in ["Once upon a time", "[1, 2]", "\"text\"", "42"] {
                assert_eq!(Format::of(name, text.as_bytes()).expect("format"), Format::JsonLines, "{name}: {text}");
            }
        }
        assert_eq!(Format::of("notes.json.txt", b"Once").expect("format"), Format::PlainText);
    }
}
