//! `run.lock`: held by the process that trains in a folder, and gone with it however it ends.

use std::path::Path;

use crate::{Error, Result, storage::Hold};

const FILE: &str = "run.lock";

/// The right to train in a folder, until it is dropped.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held until it is dropped")] Hold);

impl Lock {
    /// Takes the lock of the folder `out`.
    ///
    /// # Errors
    /// Somebody has it, or the folder cannot be written.
    pub fn take(out: &Path) -> Result<Self> {
        let path = out.join(FILE);
        let hold = Hold::take(&path).map_err(|e| Error::file("open", &path, e))?;
        hold.map(Self).ok_or_else(|| refusal(out))
    }
}

/// Whether some process trains in the folder `out`.
pub fn is_held(out: &Path) -> bool {
    Hold::is_taken(&out.join(FILE))
}

/// Refuses a folder in which some process trains.
///
/// # Errors
/// It is one.
pub fn refuse_held(out: &Path) -> Result<()> {
    if is_held(out) { Err(refusal(out)) } else { Ok(()) }
}

fn refusal(out: &Path) -> Error {
    Error::input(format!(
        "{}: the run in this folder is being written by another process; wait until it has ended, stop it, or give \
         another folder",
        out.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_all_see_it() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!is_held(folder.path()));
        let lock = Lock::take(folder.path()).expect("free");
        assert!(is_held(folder.path()));
        assert!(refuse_held(folder.path()).expect_err("held").to_string().contains("is being written by another"));
        assert!(Lock::take(folder.path()).is_err());
        drop(lock);
        assert!(!is_held(folder.path()));
        // Lookers do not keep anyone out.
        let looking = std::fs::File::open(folder.path().join(FILE)).expect("a file");
        looking.lock_shared().expect("shared");
        let waiting = std::thread::spawn({
            let folder = folder.path().to_path_buf();
            move || Lock::take(&folder).is_ok()
        });
        std::thread::sleep(std::time::Duration::from_millis(30));
        drop(looking);
        assert!(waiting.join().expect("a thread"));
        assert!(Lock::take(Path::new("/no/such/folder")).is_err());
    }
}
