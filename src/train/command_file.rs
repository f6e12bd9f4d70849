//! Command files: what other processes ask the run in a folder to do. Each command is a file of its own, `command-*.json`,
//! renamed into place; the run reads them in the order of their names at each report, and deletes them.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use web_time::{SystemTime, UNIX_EPOCH};

use super::lock;
use crate::{Error, Result, event::Command, files, storage};

const PREFIX: &str = "command";
const SUFFIX: &str = ".json";

/// Sends a command to the run in the folder `out`, behind those that it has not read yet.
///
/// # Errors
/// Nobody trains there, or the folder cannot be written.
pub fn send(out: &Path, command: Command) -> Result<()> {
    if !lock::is_held(out) {
        return Err(Error::input(format!(
            "{}: no process is training in this folder, so nobody would read the command",
            out.display()
        )));
    }
    files::write_json(&out.join(name()), &command)
}

/// A name that no other command file has and that sorts behind those of before: the time, in a process never the same
/// twice, and the process.
fn name() -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let later = |last: u64| Some(now.max(last + 1));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).unwrap_or_default();
    // A page is one process.
    let process = if cfg!(target_arch = "wasm32") { 0 } else { std::process::id() };
    format!("{PREFIX}-{:020}-{process}{SUFFIX}", now.max(last + 1))
}

/// The command files in the folder `out`, oldest first.
fn waiting(out: &Path) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
    };
    // Sorted by name.
    storage::list(out).unwrap_or_default().into_iter().filter(is_one).collect()
}

/// Reads and deletes the commands that wait in the folder `out`, oldest first. What cannot be read is dropped: nobody is
/// there to report it to.
pub(super) fn receive(out: &Path) -> Vec<Command> {
    let take = |path: PathBuf| {
        let bytes = storage::read(&path);
        // One that cannot be deleted would be obeyed at every report.
        storage::remove_file(&path).ok()?;
        serde_json::from_slice(&bytes.ok()?).ok()
    };
    waiting(out).into_iter().filter_map(take).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_wait_in_order_and_are_received_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path();
        assert!(send(out, Command::Save).expect_err("nobody").to_string().contains("no process is training"));
        let _lock = lock::Lock::take(out).expect("free");
        send(out, Command::Save).expect("sent");
        send(out, Command::SetLearningRate(0.5)).expect("sent");
        assert_eq!(receive(out), [Command::Save, Command::SetLearningRate(0.5)]);
        assert_eq!(receive(out), []);
        std::fs::write(out.join("command-1.json"), "rubbish").expect("a file");
        std::fs::write(out.join("command-2.json"), r#"{"command": "stop"}"#).expect("a file");
        std::fs::write(out.join("config.json"), "{}").expect("a file");
        assert_eq!(receive(out), [Command::Stop]);
        assert!(waiting(out).is_empty() && out.join("config.json").exists());
    }

    #[test]
    fn two_writers_at_once_lose_nothing_and_repeat_nothing() {
        const EACH: usize = 200;
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path();
        let _lock = lock::Lock::take(out).expect("free");
        let write = |first: usize| {
            for number in first..first + EACH {
                send(out, Command::SetLearningRate(number as f64)).expect("sent");
            }
        };
        let mut received = Vec::new();
        std::thread::scope(|scope| {
            let writers = [scope.spawn(|| write(0)), scope.spawn(|| write(EACH))];
            while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                received.extend(receive(out));
            }
        });
        received.extend(receive(out));
        let numbers: Vec<usize> = received
            .iter()
            .map(|command| match command {
                Command::SetLearningRate(rate) => *rate as usize,
                other => panic!("{other:?}"),
            })
            .collect();
        let of = |first: usize| {
            numbers.iter().copied().filter(|number| (first..first + EACH).contains(number)).collect::<Vec<_>>()
        };
        for first in [0, EACH] {
            assert_eq!(of(first), (first..first + EACH).collect::<Vec<_>>());
        }
        assert_eq!(numbers.len(), 2 * EACH);
    }
}
