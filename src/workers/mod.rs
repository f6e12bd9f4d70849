//! The workers behind a front end: they own devices, models and the run, on threads of their own (in a browser, which has
//! none, in tasks that take turns), so that a window never waits. What they say to each other is in
//! [`messages`](crate::event::messages).
//!
//! One worker trains (`run`), one checks settings (`checks`, `check`), one works with the adapters of finished runs
//! (`workbench`), one follows the records of runs in folders (`watch`, [`follower`], [`tail`]). Whatever panics in the
//! layers below becomes a sentence, and the worker continues with the next request.

mod cache;
mod check;
mod checks;
pub mod follower;
mod run;
mod shared;
pub mod tail;
mod watch;
mod workbench;
mod worker;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc::{Receiver, Sender, channel},
};
#[cfg(not(target_arch = "wasm32"))]
use std::{sync::atomic::AtomicBool, time::Duration};

#[cfg(not(target_arch = "wasm32"))]
use crate::event::messages::RunState;
use crate::{
    event::{
        Command,
        messages::{Reply, Request},
    },
    method::{Budget, METHODS, formats::FORMATS, mask::MASKS},
    session::OpenDevices,
};
use checks::CheckRequest;
use run::RunRequest;
use shared::Shared;
use watch::WatchRequest;
use workbench::{Task, TaskRequest};
use worker::{Replies, Requests, Worker};

/// What can be chosen for settings whose values are names: setting, then the names.
pub fn choices() -> Vec<(&'static str, Vec<String>)> {
    let methods = METHODS.iter().map(|entry| entry.name.to_owned()).collect();
    let masks = MASKS.iter().map(|entry| entry.name.to_owned()).collect();
    vec![("method", methods), ("mask", masks)]
}

/// Methods, and the settings that each reads of those that not every method reads.
pub fn method_settings() -> Vec<(&'static str, &'static [&'static str])> {
    METHODS.iter().map(|entry| (entry.name, entry.settings)).collect()
}

/// For a method, the two that can be compared: the second takes the number of trainable parameters of the first, so it is
/// one that can train any number of them.
pub fn comparisons() -> Vec<(&'static str, [&'static str; 2])> {
    let of = |wanted: fn(Budget) -> bool| {
        METHODS.iter().filter(move |entry| entry.budget.is_some_and(wanted)).map(|entry| entry.name)
    };
    let exact: Vec<_> = of(|budget| matches!(budget, Budget::Exact { .. })).collect();
    let steps: Vec<_> = of(|budget| matches!(budget, Budget::Steps { .. })).collect();
    let (Some(any), Some(first)) = (exact.first(), steps.first()) else { return Vec::new() };
    let pairs = steps.iter().map(|name| (*name, [*name, *any]));
    exact.iter().map(|name| (*name, [*first, *name])).chain(pairs).collect()
}

/// Layouts that an adapter can be exported in, with a word on each; the program's own is the last.
pub fn layouts() -> Vec<(String, String)> {
    FORMATS.iter().rev().map(|format| (format.name.into(), format.about.into())).collect()
}

/// Files by which a folder is known to hold an adapter.
pub fn adapter_files() -> Vec<&'static str> {
    FORMATS.iter().map(|format| format.marker).collect()
}

/// How often whoever waits looks whether it is to stop.
#[cfg(not(target_arch = "wasm32"))]
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The workers. Dropping them stops and saves the run and waits for that.
pub struct Workers {
    senders: Option<Senders>,
    replies: Receiver<Reply>,
    shared: Arc<Shared>,
    /// The two that may be writing something.
    run: Option<Worker>,
    workbench: Option<Worker>,
}

/// Where the requests of each worker are sent.
struct Senders {
    run: Sender<RunRequest>,
    check: Sender<CheckRequest>,
    workbench: Sender<TaskRequest>,
    watch: Sender<WatchRequest>,
}

impl Workers {
    /// Starts the workers, which call `wake` whenever there is a new reply.
    pub fn start(wake: impl Fn() + Send + Sync + 'static) -> Self {
        let (sender, received) = channel();
        let replies = Replies::new(sender, Arc::new(wake));
        let shared = Arc::new(Shared::default());
        let devices = OpenDevices::default();
        let (run, runs) = channel();
        let (check, checks) = channel();
        let (bench, tasks) = channel();
        let (watch, folders) = channel();
        let running = {
            let (replies, shared, devices) = (replies.clone(), shared.clone(), devices.clone());
            Worker::start("run", move || run::work(Requests::new(runs), replies, devices, shared))
        };
        let checking = {
            let (replies, shared) = (replies.clone(), shared.clone());
            Worker::start("check", move || checks::work(Requests::new(checks), replies, shared))
        };
        let working = {
            let (replies, shared) = (replies.clone(), shared.clone());
            Worker::start("workbench", move || workbench::work(Requests::new(tasks), replies, devices, shared))
        };
        let watching = Worker::start("watch", move || watch::work(Requests::new(folders), replies));
        // These two write nothing, and end by themselves when nobody can ask them any more.
        let _ = (checking, watching);
        Self {
            senders: Some(Senders { run, check, workbench: bench, watch }),
            replies: received,
            shared,
            run: Some(running),
            workbench: Some(working),
        }
    }

    /// Sends a request. Never waits.
    pub fn send(&self, request: Request) {
        let Some(to) = &self.senders else { return };
        let next = |counter: &AtomicU64| counter.fetch_add(1, Ordering::SeqCst) + 1;
        // A worker receives its requests as long as these senders are there; none of them can fail.
        let command = |command| to.run.send(RunRequest::Command(command)).is_ok();
        let task = |number, folder, task| to.workbench.send(TaskRequest::Task { number, folder, task }).is_ok();
        let _ = match request {
            Request::Devices => to.check.send(CheckRequest::Devices).is_ok(),
            Request::Check { number, setup } => {
                let order = next(&self.shared.checks);
                to.check.send(CheckRequest::Check { order, number, setup }).is_ok()
            }
            Request::Start { setup } => {
                self.shared.runs.fetch_add(1, Ordering::SeqCst);
                // Its memory belongs to the run now.
                let _ = to.workbench.send(TaskRequest::Release);
                to.run.send(RunRequest::Start(setup)).is_ok()
            }
            Request::Tell { command: one } => command(one),
            Request::Pause => command(Command::Pause),
            Request::Resume => command(Command::Resume),
            Request::Watch { folder } => to.watch.send(WatchRequest::Watch(folder)).is_ok(),
            Request::Forget { folder } => to.watch.send(WatchRequest::Forget(folder)).is_ok(),
            Request::TellFolder { folder, command } => to.watch.send(WatchRequest::Command(folder, command)).is_ok(),
            Request::Generate { number, folder, prompt, temperature, max_tokens, seed } => {
                let order = next(&self.shared.generations);
                task(number, folder, Task::Generate { order, prompt, temperature, max_tokens, seed })
            }
            Request::StopGenerating => {
                let all = self.shared.generations.load(Ordering::SeqCst);
                self.shared.interrupted.fetch_max(all, Ordering::SeqCst);
                true
            }
            Request::Merge { number, folder, out } => task(number, folder, Task::Merge { out }),
            Request::Export { number, folder, format, out } => task(number, folder, Task::Export { format, out }),
        };
    }

    /// The next reply, if there is one.
    pub fn receive(&self) -> Option<Reply> {
        self.replies.try_recv().ok()
    }

    /// The next reply, waited for as long as `time`.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn receive_within(&self, time: Duration) -> Option<Reply> {
        self.replies.recv_timeout(time).ok()
    }

    /// Whether a run was asked for that is not over.
    pub fn busy(&self) -> bool {
        self.shared.runs.load(Ordering::SeqCst) > 0
    }

    /// Stays with the run until it is over, for a front end that is gone; a paused run continues. If `stop`
    /// becomes true, the run is stopped and saved. Every reply that still comes is handed to `each`. Returns the last state
    /// that was received here.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn leave_running(self, stop: &AtomicBool, mut each: impl FnMut(&Reply)) -> RunState {
        let mut state = RunState::Idle;
        let mut stopped = false;
        self.send(Request::Resume);
        loop {
            // Asked before receiving: what a run reports before its end is then received.
            let busy = self.busy();
            if stop.load(Ordering::Relaxed) && !stopped {
                stopped = true;
                self.shared.closing.store(true, Ordering::SeqCst);
                self.send(Request::Tell { command: Command::Stop });
            }
            let mut reply = self.receive_within(if busy { LOOK_AGAIN } else { Duration::ZERO });
            while let Some(one) = reply {
                each(&one);
                if let Reply::State { state: new } = one {
                    state = new;
                }
                reply = self.receive();
            }
            if !busy {
                return state;
            }
        }
    }

    /// Stops and saves the run, if there is one, and waits for that.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.interrupted.store(u64::MAX, Ordering::SeqCst);
        // Without anyone who could ask, the threads end.
        self.senders = None;
        // Nobody wants to wait for a download that no run will use.
        let running = self.run.take().filter(|_| !self.shared.preparing.load(Ordering::SeqCst));
        for writer in [running, self.workbench.take()].into_iter().flatten() {
            writer.join();
        }
    }
}
