//! The event log of a run for whoever follows it: figures in `metrics.jsonl`, every other event in
//! `events.jsonl`, one line each, appended as it happens.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::metrics;
use crate::{
    Error, Result,
    event::{Event, Metrics},
    files, storage,
};

/// Name of the file of events.
pub const EVENTS: &str = "events.jsonl";

/// An open event log.
pub struct EventLog {
    metrics: Lines,
    events: Lines,
}

impl EventLog {
    /// Opens the log in the folder `out` for what comes after step `done`. What a run that was killed or failed wrote
    /// after its last checkpoint is removed first, and half-written lines.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn open(out: &Path, done: u64) -> Result<Self> {
        let metrics = Lines::open(&out.join(metrics::FILE), |line| {
            serde_json::from_str::<Metrics>(line)
                .is_ok_and(|metrics| metrics.step <= done && (done > 0 || metrics.loss.is_some()))
        })?;
        let mut session_holds = false;
        let events = Lines::open(&out.join(EVENTS), |line| match serde_json::from_str(line) {
            Ok(Event::Started(started)) => {
                session_holds = done > 0 && started.done <= done;
                session_holds
            }
            Ok(Event::Data { .. }) => session_holds,
            // The run is resumed: it has not failed after all.
            Ok(Event::Failed { .. }) | Err(_) => false,
            Ok(event) => done > 0 && event.step().is_some_and(|step| step <= done),
        })?;
        Ok(Self { metrics, events })
    }

    /// Appends one line to the file it belongs to, whole or not at all as far as the operating system goes.
    ///
    /// # Errors
    /// The disk is full or the file is gone.
    pub fn write(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Step(metrics) | Event::Evaluated { metrics, .. } => self.metrics.append(metrics),
            other => self.events.append(other),
        }
    }
}

/// A file that grows by lines of JSON.
struct Lines {
    path: PathBuf,
    file: Box<dyn Write>,
}

impl Lines {
    /// Opens the file, without the lines that `keep` refuses. If it keeps all, the file stays the same one.
    fn open(path: &Path, mut keep: impl FnMut(&str) -> bool) -> Result<Self> {
        if storage::exists(path) {
            let bytes = storage::read(path).map_err(|e| Error::file("read", path, e))?;
            let text = String::from_utf8_lossy(&bytes);
            let kept: String = text.lines().filter(|line| keep(line)).flat_map(|line| [line, "\n"]).collect();
            if kept.as_bytes() != bytes {
                files::write(path, kept.as_bytes())?;
            }
        }
        let file = storage::append(path).map_err(|e| Error::file("open", path, e))?;
        Ok(Self { path: path.to_path_buf(), file: Box::new(file) })
    }

    /// One write a line.
    fn append(&mut self, line: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(line).map_err(|e| Error::Run(format!("{}: {e}", self.path.display())))?;
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(|e| Error::file("write", &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Ending, Started};

    fn started(done: u64) -> Event {
        Event::Started(Box::new(Started {
            device: "CPU".into(),
            model: "m".into(),
            method: "sparta".into(),
            total_parameters: 9,
            trained_parameters: 1,
            trained: Vec::new(),
            steps: 10,
            done,
            batches_per_epoch: 2,
            learning_rate: 1e-3,
            memory_limit_bytes: None,
            memory_choice: None,
        }))
    }

    fn step(step: u64) -> Event {
        Event::Step(Metrics { step, loss: Some(1.0), ..Metrics::default() })
    }

    fn sample(step: u64) -> Event {
        Event::Sample { step, prompt: "p".into(), text: "t".into() }
    }

    fn events(out: &Path) -> Vec<Event> {
        let text = std::fs::read_to_string(out.join(EVENTS)).expect("a file");
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    #[test]
    fn what_came_after_the_checkpoint_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path();
        let stopped =
            Event::Finished { ending: Ending::Stopped, step: 4, best_eval: None, elapsed_secs: 1.0, tokens: 8 };
        let failed = Event::Failed { message: "step 6".into() };
        let written =
            [started(0), sample(0), step(1), step(2), sample(2), stopped.clone(), started(4), step(5), sample(5)];
        let mut log = EventLog::open(out, 0).expect("a log");
        written.iter().chain([&failed]).for_each(|event| log.write(event).expect("written"));
        drop(log);
        let mut file = storage::append(out.join(EVENTS)).expect("a file");
        file.write_all(b"{\"event\":\"sam").expect("half a line");

        let mut log = EventLog::open(out, 4).expect("a log");
        log.write(&sample(6)).expect("written");
        assert_eq!(events(out), [started(0), sample(0), sample(2), stopped, started(4), sample(6)]);
        let steps: Vec<u64> =
            metrics::read(&out.join(metrics::FILE)).expect("figures").iter().map(|m| m.step).collect();
        assert_eq!(steps, [1, 2]);
        // A run that starts anew writes everything again.
        drop(EventLog::open(out, 0).expect("a log"));
        assert_eq!(events(out), []);
    }

    #[cfg(unix)]
    #[test]
    fn a_log_that_is_good_stays_the_same_file() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().expect("a folder");
        let inode = || std::fs::metadata(folder.path().join(EVENTS)).expect("a file").ino();
        let mut log = EventLog::open(folder.path(), 0).expect("a log");
        [started(0), sample(3)].iter().for_each(|event| log.write(event).expect("written"));
        let before = inode();
        drop(EventLog::open(folder.path(), 3).expect("a log"));
        assert_eq!(inode(), before);
        drop(EventLog::open(folder.path(), 2).expect("a log"));
        assert_ne!(inode(), before);
    }
}
