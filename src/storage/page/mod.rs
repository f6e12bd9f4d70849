//! The files of a page: a tree in memory that the page keeps in the browser's own storage.
//!
//! A browser gives its storage only to those who wait, and a run does not wait for every line. So files are written here at
//! once, and what changed is handed on ([`take_changes`]) in the order in which it was done, for the page to carry it to
//! the browser's storage between steps. Files that a person gave or that were there before stay where they are ([`put`])
//! and are read in slices, so that memory never holds a whole model.

mod reading;
mod writing;

pub use reading::{Reader, View, open, view};
pub use writing::{Appender, Hold, Part, Scaffold, append, prove_writable, temporary, temporary_folder};

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io::{self, Error, ErrorKind},
    path::{Component, Path, PathBuf},
    rc::Rc,
    time::{Duration, SystemTime},
};

use web_sys::Blob;

/// What a file consists of.
#[derive(Clone, Debug)]
pub enum Content {
    /// Bytes in memory.
    Memory(Rc<Vec<u8>>),
    /// Bytes that the browser has.
    Browser(Blob),
}

/// Something that was done to a path.
#[derive(Clone, Debug)]
pub enum Change {
    /// The file has new bytes from this place on; it ends with them.
    Written(PathBuf, usize),
    /// The file, or the folder with all that is in it, is gone.
    Removed(PathBuf),
}

#[derive(Clone, Debug)]
struct File {
    content: Content,
    /// Grows with every change of any file.
    stamp: u64,
}

#[derive(Default)]
struct Tree {
    files: BTreeMap<PathBuf, File>,
    folders: BTreeSet<PathBuf>,
    changes: Vec<Change>,
    clock: u64,
    names: u64,
}

thread_local! {
    static TREE: RefCell<Tree> = RefCell::default();
}

fn tree<T>(work: impl FnOnce(&mut Tree) -> T) -> T {
    TREE.with_borrow_mut(work)
}

/// The one spelling of a path: every path begins at the root of the page.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            _ => {}
        }
    }
    plain
}

fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such file")
}

impl Tree {
    fn set(&mut self, path: PathBuf, content: Content, from: Option<usize>) {
        self.clock += 1;
        if let Some(from) = from {
            self.written(&path, from);
        }
        self.folders.extend(path.ancestors().skip(1).map(Path::to_path_buf));
        self.files.insert(path, File { content, stamp: self.clock });
    }

    /// Notes a change; one that is not carried away yet takes in what follows.
    fn written(&mut self, path: &Path, from: usize) {
        for change in self.changes.iter_mut().rev() {
            match change {
                Change::Written(other, start) if other == path => {
                    *start = from.min(*start);
                    return;
                }
                Change::Removed(other) if path.starts_with(&*other) => break,
                _ => {}
            }
        }
        self.changes.push(Change::Written(path.to_path_buf(), from));
    }

    fn removed(&mut self, path: &Path) {
        self.changes.retain(|change| !matches!(change, Change::Written(other, _) if other.starts_with(path)));
        self.changes.push(Change::Removed(path.to_path_buf()));
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || self.folders.contains(path)
    }

    fn below(&self, path: &Path) -> Vec<PathBuf> {
        self.files
            .range(path.to_path_buf()..)
            .map(|(file, _)| file)
            .take_while(|file| file.starts_with(path))
            .cloned()
            .collect()
    }
}

/// Lays a file into the tree that the page's storage has already, or that a person gave.
pub fn put(path: &Path, content: Content) {
    tree(|tree| tree.set(plain(path), content, None));
}

/// As [`put`], for a file that the page's storage does not have yet.
pub fn write_content(path: &Path, content: Content) {
    tree(|tree| tree.set(plain(path), content, Some(0)));
}

/// Takes a path out of the tree because the page's storage has it no longer.
pub fn forget(path: &Path) {
    let path = plain(path);
    tree(|tree| {
        tree.files.retain(|file, _| !file.starts_with(&path));
        tree.folders.retain(|folder| !folder.starts_with(&path));
    });
}

/// What was done since the last time, in order.
pub fn take_changes() -> Vec<Change> {
    tree(|tree| std::mem::take(&mut tree.changes))
}

/// What a file consists of.
pub fn content(path: &Path) -> Option<Content> {
    tree(|tree| tree.files.get(&plain(path)).map(|file| file.content.clone()))
}

/// All files below a folder.
pub fn all_below(folder: &Path) -> Vec<PathBuf> {
    tree(|tree| tree.below(&plain(folder)))
}

/// Whether there is anything under this path.
pub fn exists(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    let path = plain(path);
    tree(|tree| tree.files.contains_key(&path) || tree.is_dir(&path))
}

/// Whether this is a folder.
pub fn is_dir(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    tree(|tree| tree.is_dir(&plain(path)))
}

/// Whether this is a file.
pub fn is_file(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    content(path).is_some()
}

/// Bytes of a file.
///
/// # Errors
/// There is no such file.
pub fn length(path: impl AsRef<Path>) -> io::Result<u64> {
    let path = path.as_ref();
    Ok(view(path)?.len() as u64)
}

/// Length and time of the last change: what tells one state of a file from another.
///
/// # Errors
/// There is no such file.
pub fn stamp(path: impl AsRef<Path>) -> io::Result<(u64, SystemTime)> {
    let path = path.as_ref();
    let stamp = tree(|tree| tree.files.get(&plain(path)).map(|file| file.stamp)).ok_or_else(missing)?;
    Ok((length(path)?, SystemTime::UNIX_EPOCH + Duration::from_nanos(stamp)))
}

/// What lies right below a folder, by name.
///
/// # Errors
/// There is no such folder.
pub fn list(folder: impl AsRef<Path>) -> io::Result<Vec<PathBuf>> {
    let folder = folder.as_ref();
    let plain = plain(folder);
    tree(|tree| {
        if !tree.is_dir(&plain) {
            return Err(missing());
        }
        let right_below = |path: &&PathBuf| path.parent() == Some(&plain);
        let paths: BTreeSet<&PathBuf> = tree.files.keys().chain(&tree.folders).filter(right_below).collect();
        Ok(paths.into_iter().map(|path| folder.join(path.file_name().unwrap_or_default())).collect())
    })
}

/// Makes a folder and those above it.
///
/// # Errors
/// There is a file in the way.
pub fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let path = plain(path);
    tree(|tree| {
        if path.ancestors().any(|above| tree.files.contains_key(above)) {
            return Err(Error::new(ErrorKind::NotADirectory, "there is a file of this name"));
        }
        tree.folders.extend(path.ancestors().map(Path::to_path_buf));
        Ok(())
    })
}

/// Removes a folder with all that is in it.
///
/// # Errors
/// There is none.
pub fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let plain = plain(path);
    if !is_dir(&plain) {
        return Err(missing());
    }
    forget(&plain);
    tree(|tree| tree.removed(&plain));
    Ok(())
}

/// Removes a file.
///
/// # Errors
/// There is none.
pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let path = plain(path);
    tree(|tree| {
        tree.files.remove(&path).ok_or_else(missing)?;
        tree.removed(&path);
        Ok(())
    })
}

/// Gives a file or a folder another name.
///
/// # Errors
/// There is nothing under the old one.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (plain(from.as_ref()), plain(to.as_ref()));
    tree(|tree| {
        let mut moved: Vec<(PathBuf, File)> =
            tree.below(&from).into_iter().filter_map(|path| Some((path.clone(), tree.files.remove(&path)?))).collect();
        if moved.is_empty() && !tree.is_dir(&from) {
            return Err(missing());
        }
        if tree.folders.remove(&from) {
            tree.folders.insert(to.clone());
        }
        // In the order in which they were written, which is the order in which they can be trusted.
        moved.sort_by_key(|(_, file)| file.stamp);
        for (path, file) in moved {
            let below = path.strip_prefix(&from).unwrap_or(Path::new(""));
            let target = if below.as_os_str().is_empty() { to.clone() } else { to.join(below) };
            tree.set(target, file.content, Some(0));
        }
        // Last, so that the browser's storage has the files under one name or the other at each moment.
        tree.removed(&from);
        Ok(())
    })
}

/// The bytes of a file.
///
/// # Errors
/// There is no such file, or the browser does not give it.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    let view = view(path)?;
    let len = view.len();
    Ok(view.slice(0..len)?.into_owned())
}

/// The text of a file.
///
/// # Errors
/// As [`read`]; bytes that are not UTF-8.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let path = path.as_ref();
    String::from_utf8(read(path)?).map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Replaces a file.
///
/// # Errors
/// None in a browser.
fn write(path: &Path, bytes: Vec<u8>) -> io::Result<()> {
    write_content(path, Content::Memory(Rc::new(bytes)));
    Ok(())
}
