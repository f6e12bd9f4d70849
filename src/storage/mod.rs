//! Files and folders by path: those of the machine, or in a browser those of the page.
//!
//! Everything that a run reads and writes goes through here, so that folders of runs, checkpoints, adapters, models and
//! data are the same thing on a disk and in a browser. Whole files or none is the business of [`files`](crate::files).

#[cfg(not(target_arch = "wasm32"))]
mod disk;
#[cfg(target_arch = "wasm32")]
mod page;

#[cfg(not(target_arch = "wasm32"))]
pub use disk::*;
#[cfg(target_arch = "wasm32")]
pub use page::*;

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};

    use super::*;

    #[test]
    fn files_are_written_read_found_and_removed() {
        let place = tempfile::tempdir().expect("a folder");
        let (folder, file) = (place.path().join("a/b"), place.path().join("a/b/c"));
        create_dir_all(&folder).expect("a folder");
        append(&file).expect("a file").write_all(b"one").expect("written");
        append(&file).expect("a file").write_all(b"two").expect("written");
        assert_eq!(read_to_string(&file).expect("read"), "onetwo");
        assert_eq!(&*view(&file).expect("a view").slice(2..5).expect("inside"), b"etw");
        assert!(view(&file).expect("a view").slice(2..7).is_err());
        let mut reader = open(&file).expect("a file");
        reader.seek(SeekFrom::Start(4)).expect("sought");
        let mut rest = String::new();
        reader.read_to_string(&mut rest).expect("read");
        assert_eq!(rest, "wo");
        assert_eq!(length(&file).expect("there"), 6);
        assert_eq!(list(&folder).expect("a folder"), std::slice::from_ref(&file));
        assert!(is_dir(&folder) && !is_dir(&file) && exists(&file) && !exists(folder.join("d")));
        rename(&folder, place.path().join("e")).expect("renamed");
        assert!(!exists(&file) && is_file(place.path().join("e/c")));
        remove_dir_all(place.path().join("e")).expect("removed");
        assert_eq!(list(place.path().join("a")).expect("a folder"), [] as [std::path::PathBuf; 0]);
    }
}
