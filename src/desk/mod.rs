//! The desk behind a front end: it owns devices, models and the run, on threads of its own (in a browser, which has none, in
//! tasks that take turns), so that a window never waits. What they say to each other is in
//! [`messages`](crate::event::messages).
//!
//! One worker trains (`running`), one checks settings (`checking`, `check`), one works with the adapters of finished runs
//! (`workbench`), one follows the records of runs in folders (`watching`, [`follower`], [`tail`]). Whatever panics in
//! the layers below becomes a sentence, and the worker goes on to the next wish.

mod check;
mod checking;
mod devices;
pub mod follower;
mod known;
mod running;
pub mod tail;
mod watching;
mod workbench;
mod worker;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

#[cfg(not(target_arch = "wasm32"))]
use crate::event::messages::RunState;
use crate::{
    event::{
        Command,
        messages::{Reply, Request},
    },
    method::{METHODS, formats::FORMATS, mask::MASKS},
};
use devices::OpenDevices;
use worker::{Ear, Worker};

/// What can be chosen for settings whose values are names: setting, then the names.
pub fn choices() -> Vec<(&'static str, Vec<String>)> {
    let methods = METHODS.iter().map(|entry| entry.name.to_owned()).collect();
    let masks = MASKS.iter().map(|entry| entry.name.to_owned()).collect();
    vec![("method", methods), ("mask", masks)]
}

/// Layouts that an adapter can be exported in, with a word on each; the program's own is the last.
pub fn layouts() -> Vec<(String, String)> {
    FORMATS.iter().rev().map(|format| (format.name.into(), format.about.into())).collect()
}

/// Files by which a folder is known to hold an adapter.
pub fn adapter_files() -> Vec<&'static str> {
    FORMATS.iter().map(|format| format.marker).collect()
}

/// How often whoever waits looks whether it was told to stop.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A desk with its workers. Dropping it stops and saves the run and waits for that.
pub struct Desk {
    wishes: Option<Wishes>,
    replies: Receiver<Reply>,
    shared: Arc<Shared>,
    /// The two that may be writing something.
    running: Option<Worker>,
    working: Option<Worker>,
}

/// What the workers listen to.
struct Wishes {
    run: Sender<running::Wish>,
    check: Sender<checking::Wish>,
    bench: Sender<workbench::Wish>,
    watch: Sender<watching::Wish>,
}

/// What the workers must know at once, whatever else they are doing.
#[derive(Default)]
struct Shared {
    /// Runs that were asked for and are not over.
    runs: AtomicUsize,
    /// Checks that were asked for: only the newest matters.
    checks: AtomicU64,
    /// Generations that were asked for.
    generations: AtomicU64,
    /// How many of them, from the first on, are to be silent.
    silenced: AtomicU64,
    /// Whether a run is being prepared, which leaves nothing behind that could be half written.
    preparing: AtomicBool,
    /// Whether the desk is being closed.
    closing: AtomicBool,
}

/// The mouth of a worker.
#[derive(Clone)]
struct Voice {
    replies: Sender<Reply>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Voice {
    fn say(&self, reply: Reply) {
        if self.replies.send(reply).is_ok() {
            (self.wake)();
        }
    }

    /// Says what is being done for a task.
    fn doing(&self, number: u64, text: String) {
        self.say(Reply::Task { number, text, ending: None });
    }
}

impl Desk {
    /// Opens a desk. `wake` is called, by its workers, whenever there is a new reply.
    pub fn open(wake: impl Fn() + Send + Sync + 'static) -> Self {
        let (replies, heard) = channel();
        let voice = Voice { replies, wake: Arc::new(wake) };
        let shared = Arc::new(Shared::default());
        let devices = OpenDevices::default();
        let (run, runs) = channel();
        let (check, checks) = channel();
        let (bench, tasks) = channel();
        let (watch, folders) = channel();
        let running = {
            let (voice, shared, devices) = (voice.clone(), shared.clone(), devices.clone());
            Worker::start("run", move || running::work(Ear::new(runs), voice, devices, shared))
        };
        let checking = {
            let (voice, shared) = (voice.clone(), shared.clone());
            Worker::start("check", move || checking::work(Ear::new(checks), voice, shared))
        };
        let working = {
            let (voice, shared) = (voice.clone(), shared.clone());
            Worker::start("workbench", move || workbench::work(Ear::new(tasks), voice, devices, shared))
        };
        let watching = Worker::start("watch", move || watching::work(Ear::new(folders), voice));
        // These two write nothing, and end by themselves when nobody can ask them any more.
        drop((checking, watching));
        Self {
            wishes: Some(Wishes { run, check, bench, watch }),
            replies: heard,
            shared,
            running: Some(running),
            working: Some(working),
        }
    }

    /// Asks for something. Never waits.
    pub fn ask(&self, request: Request) {
        let Some(wishes) = &self.wishes else { return };
        let next = |counter: &AtomicU64| counter.fetch_add(1, Ordering::SeqCst) + 1;
        // A thread hears its wishes as long as the desk is there; none of these can fail.
        let _ = match request {
            Request::Devices => wishes.check.send(checking::Wish::Devices).is_ok(),
            Request::Check { number, setup } => {
                let order = next(&self.shared.checks);
                wishes.check.send(checking::Wish::Check { order, number, setup }).is_ok()
            }
            Request::Start { setup } => {
                self.shared.runs.fetch_add(1, Ordering::SeqCst);
                // Its memory belongs to the run now.
                let _ = wishes.bench.send(workbench::Wish::Release);
                wishes.run.send(running::Wish::Start(setup)).is_ok()
            }
            Request::Tell { command } => wishes.run.send(running::Wish::Tell(command)).is_ok(),
            Request::Pause => wishes.run.send(running::Wish::Tell(Command::Pause)).is_ok(),
            Request::Resume => wishes.run.send(running::Wish::Tell(Command::Resume)).is_ok(),
            Request::Watch { folder } => wishes.watch.send(watching::Wish::Watch(folder)).is_ok(),
            Request::Forget { folder } => wishes.watch.send(watching::Wish::Forget(folder)).is_ok(),
            Request::TellFolder { folder, command } => wishes.watch.send(watching::Wish::Tell(folder, command)).is_ok(),
            Request::Generate { number, folder, prompt, temperature, max_tokens, seed } => {
                let order = next(&self.shared.generations);
                let wanted = workbench::Wanted { prompt, temperature, max_tokens, seed };
                wishes.bench.send(workbench::Wish::Generate { order, number, folder, wanted }).is_ok()
            }
            Request::StopGenerating => {
                let all = self.shared.generations.load(Ordering::SeqCst);
                self.shared.silenced.fetch_max(all, Ordering::SeqCst);
                true
            }
            Request::Merge { number, folder, out } => {
                wishes.bench.send(workbench::Wish::Merge { number, folder, out }).is_ok()
            }
            Request::Export { number, folder, format, out } => {
                wishes.bench.send(workbench::Wish::Export { number, folder, format, out }).is_ok()
            }
        };
    }

    /// The next reply, if there is one.
    pub fn hear(&self) -> Option<Reply> {
        self.replies.try_recv().ok()
    }

    /// The next reply, waited for as long as `time`.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn hear_within(&self, time: Duration) -> Option<Reply> {
        self.replies.recv_timeout(time).ok()
    }

    /// Whether a run was asked for that is not over.
    pub fn busy(&self) -> bool {
        self.shared.runs.load(Ordering::SeqCst) > 0
    }

    /// Stays with the run until it is over, for a front end that is gone; a run that stands still goes on. If `stop`
    /// becomes true, the run is stopped and saved. Every reply that still comes is handed to `heard`. Returns the last
    /// state that was heard here.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn leave_running(self, stop: &AtomicBool, mut heard: impl FnMut(&Reply)) -> RunState {
        let mut state = RunState::Idle;
        let mut told = false;
        self.ask(Request::Resume);
        loop {
            // Asked before listening: what a run says before its end is then heard.
            let busy = self.busy();
            if stop.load(Ordering::Relaxed) && !told {
                told = true;
                self.shared.closing.store(true, Ordering::SeqCst);
                self.ask(Request::Tell { command: Command::Stop });
            }
            let mut reply = self.hear_within(if busy { LOOK_AGAIN } else { Duration::ZERO });
            while let Some(one) = reply {
                heard(&one);
                if let Reply::State { state: new } = one {
                    state = new;
                }
                reply = self.hear();
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

impl Drop for Desk {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.silenced.store(u64::MAX, Ordering::SeqCst);
        // Without anyone who could ask, the threads end.
        self.wishes = None;
        // Nobody wants to wait for a download that no run will use.
        let running = self.running.take().filter(|_| !self.shared.preparing.load(Ordering::SeqCst));
        for writer in [running, self.working.take()].into_iter().flatten() {
            writer.join();
        }
    }
}
