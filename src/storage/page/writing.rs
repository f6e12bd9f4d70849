//! Files as they are written: at their end, or whole or not at all; and the right to write.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    io::{self, Write},
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{Content, create_dir_all, is_file, missing, plain, remove_dir_all, tree, view, write};

/// The growing end of a file.
#[derive(Debug)]
pub struct Appender(PathBuf);

/// A file that grows at its end; made if it is not there.
///
/// # Errors
/// None in a browser.
pub fn append(path: impl AsRef<Path>) -> io::Result<Appender> {
    let path = path.as_ref();
    let path = plain(path);
    if !is_file(&path) {
        write(&path, Vec::new())?;
    }
    Ok(Appender(path))
}

impl Write for Appender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let before = view(&self.0)?;
        let from = before.len();
        tree(|tree| {
            let file = tree.files.get_mut(&self.0).ok_or_else(missing)?;
            if let Content::Browser(_) = &file.content {
                file.content = Content::Memory(Rc::new(before.slice(0..from)?.into_owned()));
            }
            drop(before);
            if let Content::Memory(there) = &mut file.content {
                Rc::make_mut(there).extend_from_slice(bytes);
            }
            tree.clock += 1;
            file.stamp = tree.clock;
            tree.written(&self.0, from);
            Ok(bytes.len())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that will appear under a name or not at all.
#[derive(Debug)]
pub struct Part(Vec<u8>);

impl Part {
    /// An empty one.
    ///
    /// # Errors
    /// None in a browser.
    pub fn beside(_path: &Path) -> io::Result<Self> {
        Ok(Self(Vec::new()))
    }

    /// Gives it the name `path`.
    ///
    /// # Errors
    /// None in a browser.
    pub fn persist(self, path: &Path) -> io::Result<()> {
        write(path, self.0)
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A new folder for what will be renamed; it vanishes with this value if it still has its own name.
#[derive(Debug)]
pub struct Scaffold(PathBuf);

impl Scaffold {
    /// An empty one.
    ///
    /// # Errors
    /// There is a file in the way.
    pub fn below(folder: &Path) -> io::Result<Self> {
        let number = tree(|tree| {
            tree.names += 1;
            tree.names
        });
        let path = folder.join(format!(".writing-{number}"));
        create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scaffold {
    fn drop(&mut self) {
        let _ = remove_dir_all(&self.0);
    }
}

/// Proves that files can be written to a folder.
///
/// # Errors
/// None in a browser.
pub fn prove_writable(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Where files go that nobody will miss. The page does not keep them.
pub fn temporary() -> PathBuf {
    PathBuf::from("temporary")
}

/// A new folder below [`temporary`].
///
/// # Errors
/// None in a browser.
pub fn temporary_folder() -> io::Result<PathBuf> {
    Scaffold::below(&temporary()).map(|folder| {
        let path = folder.0.clone();
        std::mem::forget(folder);
        path
    })
}

/// The right to write in a folder. One page has its files to itself.
#[derive(Debug)]
pub struct Hold(PathBuf);

thread_local! {
    static HELD: RefCell<BTreeSet<PathBuf>> = RefCell::default();
}

impl Hold {
    /// Takes the hold on the file `path`; `None` if a run of this page has it.
    ///
    /// # Errors
    /// None in a browser.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let path = plain(path);
        let free = HELD.with_borrow_mut(|held| held.insert(path.clone()));
        Ok(free.then_some(Self(path)))
    }

    /// Whether somebody has the hold on the file `path`.
    pub fn is_taken(path: &Path) -> bool {
        HELD.with_borrow(|held| held.contains(&plain(path)))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| held.remove(&self.0));
    }
}
