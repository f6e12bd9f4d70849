//! `command.json`: what other processes tell the run in a folder. The run looks at each report and takes it away.

use std::path::Path;

use super::lock;
use crate::{Error, Result, event::Command, files, storage};

const FILE: &str = "command.json";
/// What has been taken away and is being read.
const TAKEN: &str = ".command-taken.json";

/// Tells the run in the folder `out` something, behind what it has not heard yet.
///
/// # Errors
/// Nobody trains there, or the folder cannot be written.
pub fn put(out: &Path, command: Command) -> Result<()> {
    if !lock::is_held(out) {
        return Err(Error::input(format!(
            "{}: no process is training in this folder, so nobody would hear it",
            out.display()
        )));
    }
    let path = out.join(FILE);
    let waiting = storage::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut commands: Vec<Command> = waiting.unwrap_or_default();
    commands.push(command);
    files::write_json(&path, &commands)
}

/// Takes away what has been told. What cannot be read is dropped: nobody is there to be told so.
pub(super) fn take(out: &Path) -> Vec<Command> {
    let (path, taken) = (out.join(FILE), out.join(TAKEN));
    // Renamed first: what is put there meanwhile is not lost.
    if !storage::exists(&path) || storage::rename(&path, &taken).is_err() {
        return Vec::new();
    }
    let commands = storage::read(&taken).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let _ = storage::remove_file(&taken);
    commands.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_wait_in_order_and_are_heard_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path();
        assert!(put(out, Command::Save).expect_err("nobody").to_string().contains("no process is training"));
        let _lock = lock::Lock::take(out).expect("free");
        put(out, Command::Save).expect("put");
        put(out, Command::SetLearningRate(0.5)).expect("put");
        assert_eq!(take(out), [Command::Save, Command::SetLearningRate(0.5)]);
        assert_eq!(take(out), []);
        std::fs::write(out.join(FILE), "rubbish").expect("a file");
        assert_eq!(take(out), []);
        assert!(!out.join(FILE).exists() && !out.join(TAKEN).exists());
    }
}
