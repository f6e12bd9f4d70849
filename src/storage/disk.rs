//! The machine's own disk.

use std::{
    borrow::Cow,
    fs,
    io::{self, Error, ErrorKind},
    ops::Range,
    path::{Path, PathBuf},
    time::SystemTime,
};

pub use std::fs::{File as Reader, create_dir_all, read, read_to_string, remove_dir_all, remove_file, rename};

use bytes::Bytes;
use memmap2::Mmap;

/// Whether there is anything under this path.
pub fn exists(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    path.exists()
}

/// Whether this is a folder.
pub fn is_dir(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    path.is_dir()
}

/// Whether this is a file.
pub fn is_file(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    path.is_file()
}

/// Bytes of a file.
///
/// # Errors
/// There is no such file.
pub fn length(path: impl AsRef<Path>) -> io::Result<u64> {
    let path = path.as_ref();
    fs::metadata(path).map(|metadata| metadata.len())
}

/// Length and time of the last change: what tells one state of a file from another.
///
/// # Errors
/// There is no such file.
pub fn stamp(path: impl AsRef<Path>) -> io::Result<(u64, SystemTime)> {
    let path = path.as_ref();
    let metadata = fs::metadata(path)?;
    Ok((metadata.len(), metadata.modified()?))
}

/// What lies right below a folder, by name.
///
/// # Errors
/// There is no such folder.
pub fn list(folder: impl AsRef<Path>) -> io::Result<Vec<PathBuf>> {
    let folder = folder.as_ref();
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// A file to read from any place in it.
///
/// # Errors
/// There is no such file.
pub fn open(path: impl AsRef<Path>) -> io::Result<Reader> {
    let path = path.as_ref();
    Reader::open(path)
}

/// A file that grows at its end; made if it is not there.
///
/// # Errors
/// It cannot be written.
pub fn append(path: impl AsRef<Path>) -> io::Result<fs::File> {
    let path = path.as_ref();
    fs::OpenOptions::new().create(true).append(true).open(path)
}

/// A file whose parts are looked at where they lie.
#[derive(Debug)]
pub struct View(Bytes);

/// Looks at a file without reading it: mapped into memory where that can be done (not a pipe, not an empty file).
///
/// # Errors
/// It cannot be read.
pub fn view(path: impl AsRef<Path>) -> io::Result<View> {
    let path = path.as_ref();
    let file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.len() > 0 {
        // SAFETY: the map is read-only. Like every program that maps its input, this one trusts that nobody cuts the
        // file short meanwhile; whatever is written into it is still only bytes, which are checked as they are read.
        if let Ok(map) = unsafe { Mmap::map(&file) } {
            return Ok(View(Bytes::from_owner(map)));
        }
    }
    fs::read(path).map(View::from)
}

impl From<Vec<u8>> for View {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::from(bytes))
    }
}

impl View {
    /// Bytes of the file.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Some of its bytes.
    ///
    /// # Errors
    /// The file ends before.
    pub fn slice(&self, range: Range<usize>) -> io::Result<Cow<'_, [u8]>> {
        self.0.get(range).map(Cow::Borrowed).ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))
    }

    /// All of its bytes.
    ///
    /// # Errors
    /// None on a disk.
    pub fn whole(self) -> io::Result<Bytes> {
        Ok(self.0)
    }
}

/// A file with a name of its own beside `path`, which will take its place or vanish.
#[derive(Debug)]
pub struct Part(tempfile::NamedTempFile);

impl Part {
    /// An empty one.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn beside(path: &Path) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".agoge-");
        // Temporary files are private; what a run leaves behind is as readable as any other file that is made under the
        // umask.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        builder.tempfile_in(folder).map(Self)
    }

    /// Gives it the name `path`, once its bytes are safe.
    ///
    /// # Errors
    /// The disk is full; what was under the name is then as it was.
    pub fn persist(self, path: &Path) -> io::Result<()> {
        self.0.as_file().sync_all()?;
        self.0.persist(path).map_err(|e| e.error)?;
        Ok(())
    }
}

impl io::Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A new folder below `folder` for what will be renamed; it vanishes with this value if it still has its own name.
#[derive(Debug)]
pub struct Scaffold(tempfile::TempDir);

impl Scaffold {
    /// An empty one.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn below(folder: &Path) -> io::Result<Self> {
        tempfile::Builder::new().prefix(".writing-").tempdir_in(folder).map(Self)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Proves that files can be written to a folder.
///
/// # Errors
/// They cannot.
pub fn prove_writable(folder: &Path) -> io::Result<()> {
    tempfile::tempfile_in(folder).map(|_| ())
}

/// Where files go that nobody will miss.
pub fn temporary() -> PathBuf {
    std::env::temp_dir()
}

/// A new folder below [`temporary`], which stays.
///
/// # Errors
/// There is no room for one.
pub fn temporary_folder() -> io::Result<PathBuf> {
    Ok(tempfile::Builder::new().prefix("agoge-").tempdir()?.keep())
}

/// The right to write in a folder, held through an open file and gone with the process however it ends.
#[derive(Debug)]
pub struct Hold(#[allow(dead_code, reason = "the open file is the hold")] fs::File);

/// Whoever looks whether a hold is taken has it for a moment: this often it is asked for again.
const TRIES: usize = 20;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

impl Hold {
    /// Takes the hold on the file `path`, which is made if it is not there; `None` if somebody has it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        for attempt in 0.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(fs::TryLockError::WouldBlock) if attempt < TRIES => std::thread::sleep(PAUSE),
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                // A file system without locks: then nobody is kept out.
                Err(fs::TryLockError::Error(_)) => break,
            }
        }
        Ok(Some(Self(file)))
    }

    /// Whether somebody has the hold on the file `path`.
    pub fn is_taken(path: &Path) -> bool {
        let Ok(file) = fs::File::open(path) else { return false };
        matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
    }
}
