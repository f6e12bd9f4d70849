//! A file of lines that somebody else writes, read as it grows. Whatever it holds, it is only read: half a line waits for
//! its end, an endless one is left out, and a file that was replaced is noticed.

use std::{
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::storage;

/// Longer lines are not read.
const LONGEST_LINE: usize = 16 << 20;
/// As many bytes before the place reached are compared, to know whether it is still the same file.
const MARK_BYTES: usize = 64;

/// What has become of the file since the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// There is more of it.
    Grown,
    /// It is not the one that was read before, or is no longer there.
    Replaced,
    /// It cannot be read; why, as half a sentence.
    Unreadable(String),
}

/// The end of a growing file.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    /// Bytes read so far.
    offset: u64,
    /// The last of them.
    mark: Vec<u8>,
    /// The line that has no end yet.
    partial: Vec<u8>,
    /// Whether that line is too long to be kept.
    endless: bool,
    /// Length and time of the last change when everything had been read.
    settled: Option<(u64, SystemTime)>,
    /// Lines that were too long.
    pub left_out: usize,
}

impl Tail {
    /// Begins at the beginning of a file, which may appear later.
    pub fn new(path: PathBuf) -> Self {
        Self { path, offset: 0, mark: Vec::new(), partial: Vec::new(), endless: false, settled: None, left_out: 0 }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins at the beginning again.
    pub fn restart(&mut self) {
        *self = Self::new(std::mem::take(&mut self.path));
    }

    /// Looks at the file without taking anything.
    pub fn look(&self) -> Change {
        let stamp = match storage::stamp(&self.path) {
            Ok(stamp) => stamp,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return if self.offset > 0 { Change::Replaced } else { Change::None };
            }
            Err(e) => return Change::Unreadable(e.to_string()),
        };
        // Opening a pipe would wait for its other end.
        if !storage::is_file(&self.path) {
            return Change::Unreadable("it is not a file".into());
        }
        if stamp.0 < self.offset {
            return Change::Replaced;
        }
        if self.settled == Some(stamp) {
            return Change::None;
        }
        match self.open() {
            Ok(None) => Change::Replaced,
            Ok(Some(_)) if stamp.0 == self.offset => Change::None,
            Ok(Some(_)) => Change::Grown,
            Err(e) => Change::Unreadable(e.to_string()),
        }
    }

    /// The file at the place that was reached; `None` if it is another file.
    fn open(&self) -> std::io::Result<Option<storage::Reader>> {
        let mut file = storage::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset - self.mark.len() as u64))?;
        let mut mark = vec![0; self.mark.len()];
        match file.read_exact(&mut mark) {
            Ok(()) => Ok((mark == self.mark).then_some(file)),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Takes at most `most` bytes and gives every line that is complete, without its end, to `each`. Says whether there
    /// may be more at once.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&mut self, most: usize, mut each: impl FnMut(&[u8])) -> std::io::Result<bool> {
        let Some(mut file) = self.open()? else { return Ok(false) };
        let before = storage::stamp(&self.path)?;
        let mut bytes = Vec::new();
        file.by_ref().take(most as u64).read_to_end(&mut bytes)?;
        self.offset += bytes.len() as u64;
        let last = &bytes[bytes.len().saturating_sub(MARK_BYTES)..];
        self.mark.extend_from_slice(last);
        self.mark.drain(..self.mark.len().saturating_sub(MARK_BYTES));
        let more = bytes.len() == most;
        // What was written while it was read changes the stamp.
        self.settled = (!more && before.0 <= self.offset).then_some((self.offset, before.1));
        self.split(&bytes, &mut each);
        Ok(more)
    }

    fn split(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let (line, behind) = (&rest[..end], &rest[end + 1..]);
            rest = behind;
            if std::mem::take(&mut self.endless) {
                continue;
            }
            let whole = if self.partial.is_empty() {
                line
            } else {
                self.partial.extend_from_slice(line);
                &self.partial
            };
            if !whole.trim_ascii().is_empty() {
                each(whole.trim_ascii());
            }
            self.partial.clear();
        }
        if !self.endless {
            self.partial.extend_from_slice(rest);
            if self.partial.len() > LONGEST_LINE {
                (self.endless, self.partial) = (true, Vec::new());
                self.left_out += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    struct Place {
        folder: tempfile::TempDir,
        tail: Tail,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let tail = Tail::new(folder.path().join("lines"));
            Self { folder, tail }
        }

        fn append(&self, bytes: &[u8]) {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(self.tail.path());
            file.expect("a file").write_all(bytes).expect("written");
        }

        fn read(&mut self, most: usize) -> Vec<String> {
            let mut lines = Vec::new();
            while self.tail.read(most, |line| lines.push(String::from_utf8_lossy(line).into_owned())).expect("read") {}
            lines
        }
    }

    #[test]
    fn lines_come_once_and_whole() {
        let mut place = Place::new();
        assert_eq!(place.tail.look(), Change::None, "no file yet");
        place.append(b"one\ntw");
        assert_eq!(place.tail.look(), Change::Grown);
        assert_eq!(place.read(2), ["one"]);
        assert_eq!(place.tail.look(), Change::None);
        place.append(b"o\r\n\n  \nthree\n");
        assert_eq!(place.read(1), ["two", "three"]);
        place.append(b"\xff\xfe\n");
        assert_eq!(place.read(100).len(), 1);
    }

    #[test]
    fn another_file_is_noticed() {
        let mut place = Place::new();
        place.append(b"one\ntwo\n");
        assert_eq!(place.read(100).len(), 2);
        for other in ["one\n", "one\n2wo\n", "one\nthree\nfour\n"] {
            std::fs::write(place.tail.path(), other).expect("written");
            // The clock of the file system may be coarser than this test is fast.
            place.tail.settled = None;
            assert_eq!(place.tail.look(), Change::Replaced, "{other:?}");
        }
        std::fs::remove_file(place.tail.path()).expect("removed");
        assert_eq!(place.tail.look(), Change::Replaced);
        place.tail.restart();
        assert_eq!(place.tail.look(), Change::None);
        std::fs::create_dir(place.tail.path()).expect("a folder");
        assert_eq!(place.tail.look(), Change::Unreadable("it is not a file".into()));
        drop(place.folder);
    }

    #[test]
    fn endless_lines_are_left_out() {
        let mut place = Place::new();
        place.append(b"one\n");
        place.append(&vec![b'x'; LONGEST_LINE + 10]);
        assert_eq!(place.read(1 << 20), ["one"]);
        assert!(place.tail.partial.is_empty() && place.tail.left_out == 1);
        place.append(b"still the same line\nnext\n");
        assert_eq!(place.read(1 << 20), ["next"]);
    }
}
