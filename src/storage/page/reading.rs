//! Files as they are read: whole, in parts, or from place to place.

use std::{
    borrow::Cow,
    io::{self, Error, ErrorKind, Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
    rc::Rc,
};

use bytes::Bytes;
use web_sys::FileReaderSync;

use super::{Content, content, missing};

/// A file whose parts are looked at where they lie.
#[derive(Clone, Debug)]
pub struct View(Content);

/// Looks at a file without reading it.
///
/// # Errors
/// There is no such file.
pub fn view(path: impl AsRef<Path>) -> io::Result<View> {
    let path = path.as_ref();
    content(path).map(View).ok_or_else(missing)
}

impl From<Vec<u8>> for View {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Content::Memory(Rc::new(bytes)))
    }
}

impl View {
    /// Bytes of the file.
    pub fn len(&self) -> usize {
        match &self.0 {
            Content::Memory(bytes) => bytes.len(),
            Content::Browser(blob) => blob.size() as usize,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of its bytes.
    ///
    /// # Errors
    /// The file ends before, or has changed since the person gave it.
    pub fn slice(&self, range: Range<usize>) -> io::Result<Cow<'_, [u8]>> {
        if range.end > self.len() || range.start > range.end {
            return Err(Error::from(ErrorKind::UnexpectedEof));
        }
        match &self.0 {
            Content::Memory(bytes) => Ok(Cow::Borrowed(&bytes[range])),
            Content::Browser(blob) => {
                let refused =
                    |_| Error::other("the browser does not give the file: it was changed or moved; give it again");
                let part = blob.slice_with_f64_and_f64(range.start as f64, range.end as f64).map_err(refused)?;
                let buffer =
                    FileReaderSync::new().and_then(|reader| reader.read_as_array_buffer(&part)).map_err(refused)?;
                Ok(Cow::Owned(js_sys::Uint8Array::new(&buffer).to_vec()))
            }
        }
    }

    /// All of its bytes.
    ///
    /// # Errors
    /// As [`Self::slice`].
    pub fn whole(self) -> io::Result<Bytes> {
        let len = self.len();
        Ok(Bytes::from(self.slice(0..len)?.into_owned()))
    }
}

/// A place in a file that is read.
#[derive(Debug)]
pub struct Reader {
    view: View,
    at: usize,
}

/// A file to read from any place in it.
///
/// # Errors
/// There is no such file.
pub fn open(path: impl AsRef<Path>) -> io::Result<Reader> {
    let path = path.as_ref();
    Ok(Reader { view: view(path)?, at: 0 })
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let end = (self.at + into.len()).min(self.view.len());
        let start = self.at.min(end);
        into[..end - start].copy_from_slice(&self.view.slice(start..end)?);
        self.at = end;
        Ok(end - start)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => at as i64,
            SeekFrom::Current(by) => self.at as i64 + by,
            SeekFrom::End(by) => self.view.len() as i64 + by,
        };
        self.at = usize::try_from(at).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
        Ok(self.at as u64)
    }
}
