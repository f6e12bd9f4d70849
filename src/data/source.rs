//! Where rows come from: files found by name and mapped into memory, or bytes handed over.
//!
//! Knows names and bytes only; what the bytes are is decided in `format`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::format::{self, Format};
use crate::error::{Error, Result};
use crate::storage::{self, View};

/// Bytes with a name for messages.
pub struct Source {
    name: String,
    bytes: Bytes,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Source {
    /// Maps a file into memory (a pipe, or a file on a platform without maps, is read instead).
    ///
    /// # Errors
    /// When the path is missing, not readable, or the file is empty.
    pub fn from_path(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let bytes = storage::view(path).and_then(View::whole).map_err(|e| Error::file("read", path, e))?;
        let source = Self { name, bytes };
        source.refuse_empty()?;
        Ok(source)
    }

    /// Bytes in memory under a name.
    ///
    /// # Errors
    /// When there is nothing but white space.
    pub fn from_bytes(name: impl Into<String>, bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self> {
        let bytes = match bytes.into() {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        let source = Self { name: name.into(), bytes };
        source.refuse_empty()?;
        Ok(source)
    }

    /// What messages call this source (the path as it was given).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes, without a byte order mark.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.bytes)
    }

    /// The same memory for a reader that keeps it.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn shared_bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Where `line` (counted from 1; the number of the row, where there are no lines) is, for messages.
    pub(crate) fn place(&self, line: usize) -> String {
        if format::is_parquet(&self.bytes) {
            format!("{} row {line}", self.name)
        } else {
            format!("{}:{line}", self.name)
        }
    }

    /// How the bytes are read: by how they begin, else by the name.
    ///
    /// # Errors
    /// When the bytes are a binary file, which would make poor plain text.
    pub fn format(&self) -> Result<Format> {
        Format::of(&self.name, self.bytes())
    }

    fn refuse_empty(&self) -> Result<()> {
        if self.bytes().trim_ascii_start().is_empty() {
            return Err(Error::input(format!("{} is empty: there is nothing to read in it", self.name)));
        }
        Ok(())
    }
}

/// The files of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFiles {
    /// What is trained on.
    pub train: PathBuf,
    /// What is evaluated on, if there is one.
    pub valid: Option<PathBuf>,
    /// What is tested on after training, if there is one.
    pub test: Option<PathBuf>,
}

const TRAIN_NAMES: &[&str] = &["train", "training"];
const VALID_NAMES: &[&str] = &["valid", "validation", "dev", "val", "eval"];
const TEST_NAMES: &[&str] = &["test"];
const EXTENSIONS: &[&str] = &["jsonl", "json", "ndjson", "csv", "tsv", "parquet", "txt", "text", "md"];

impl DataFiles {
    /// Finds the files of `data`: a file is the training file; in a folder they are found by name (`train.jsonl`,
    /// `valid.txt`, ...). An explicit `valid` (a file, or a folder that has one) wins over the one found.
    ///
    /// # Errors
    /// When a path is missing, a folder has no training file, or two files claim the same part.
    pub fn find(data: &Path, valid: Option<&Path>) -> Result<Self> {
        let mut files = if is_folder(data)? {
            let train = find_part(data, TRAIN_NAMES)?.ok_or_else(|| no_such_part(data, TRAIN_NAMES))?;
            Self { train, valid: find_part(data, VALID_NAMES)?, test: find_part(data, TEST_NAMES)? }
        } else {
            Self { train: data.to_path_buf(), valid: None, test: None }
        };
        if let Some(valid) = valid {
            files.valid = Some(if is_folder(valid)? {
                find_part(valid, VALID_NAMES)?.ok_or_else(|| no_such_part(valid, VALID_NAMES))?
            } else {
                valid.to_path_buf()
            });
        }
        Ok(files)
    }
}

fn is_folder(path: &Path) -> Result<bool> {
    if storage::is_dir(path) {
        return Ok(true);
    }
    match storage::length(path) {
        Ok(_) => Ok(false),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::input(format!("there is no file or folder {}: check the path of the data", path.display())))
        }
        Err(e) => Err(Error::file("read", path, e)),
    }
}

/// The one file of `folder` whose stem is one of `names` and whose extension is known; earlier names win.
fn find_part(folder: &Path, names: &[&str]) -> Result<Option<PathBuf>> {
    let mut files = storage::list(folder).map_err(|e| Error::file("read", folder, e))?;
    files.retain(|path| storage::is_file(path));
    let lower = |part: Option<&std::ffi::OsStr>| part.map(|text| text.to_string_lossy().to_lowercase());
    for name in names {
        let found: Vec<&PathBuf> = files
            .iter()
            .filter(|path| lower(path.file_stem()).as_deref() == Some(name))
            .filter(|path| lower(path.extension()).is_none_or(|extension| EXTENSIONS.contains(&extension.as_str())))
            .collect();
        match found[..] {
            [] => {}
            [one] => return Ok(Some(one.clone())),
            [first, second, ..] => {
                return Err(Error::input(format!(
                    "both {} and {} could be the {name} file: remove one, or give the file instead of the folder",
                    first.display(),
                    second.display()
                )));
            }
        }
    }
    Ok(None)
}

fn no_such_part(folder: &Path, names: &[&str]) -> Error {
    Error::input(format!(
        "no {} file in {}: it must be called {} with one of the extensions {}; or give the file itself",
        names[0],
        folder.display(),
        names.join(", "),
        EXTENSIONS.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temp folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("write");
        }
        folder
    }

    #[test]
    fn parts_are_found_by_name() {
        let folder = folder_with(&[("Train.JSONL", "{}"), ("val.txt", "x"), ("test.json", "{}"), ("notes.txt", "x")]);
        let files = DataFiles::find(folder.path(), None).expect("files");
        assert_eq!(files.train, folder.path().join("Train.JSONL"));
        assert_eq!(files.valid, Some(folder.path().join("val.txt")));
        assert_eq!(files.test, Some(folder.path().join("test.json")));
        let notes = folder.path().join("notes.txt");
        assert_eq!(DataFiles::find(folder.path(), Some(&notes)).expect("files").valid, Some(notes.clone()));
        let single = DataFiles::find(&notes, Some(folder.path())).expect("files");
        assert_eq!((single.train, single.valid), (notes, Some(folder.path().join("val.txt"))));
    }

    #[test]
    fn what_is_missing_or_double_is_said() {
        let folder = folder_with(&[("train.arrow", "x"), ("valid.txt", "x")]);
        let error = DataFiles::find(folder.path(), None).expect_err("no train").to_string();
        assert!(error.contains("no train file") && error.contains("jsonl"), "{error}");
        let error = DataFiles::find(&folder.path().join("nope"), None).expect_err("missing").to_string();
        assert!(error.contains("there is no file or folder"), "{error}");
        let folder = folder_with(&[("train.txt", "x"), ("train.jsonl", "x")]);
        let error = DataFiles::find(folder.path(), None).expect_err("double").to_string();
        assert!(error.contains("could be the train file"), "{error}");
    }

    #[test]
    fn empty_and_blank_files_are_refused() {
        let folder = folder_with(&[("a", ""), ("b", " \r\n\n"), ("c", "\u{feff}")]);
        for name in ["a", "b", "c"] {
            let Err(error) = Source::from_path(&folder.path().join(name)) else { panic!("{name} must fail") };
            assert!(error.to_string().contains("is empty"), "{error}");
        }
        assert!(Source::from_path(folder.path()).is_err());
        assert!(Source::from_path(&folder.path().join("nope")).is_err());
        assert!(Source::from_bytes("x", Vec::new()).is_err());
    }

    #[test]
    fn the_byte_order_mark_is_not_data() {
        let source = Source::from_bytes("x", b"\xef\xbb\xbf{}".to_vec()).expect("source");
        assert_eq!((source.bytes(), source.format().expect("format")), (&b"{}"[..], Format::JsonLines));
    }
}
