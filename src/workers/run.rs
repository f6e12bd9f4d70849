//! The worker that trains.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    shared::Shared,
    worker::{Received, Replies, Requests, attempt},
};
use crate::{
    Result,
    event::{
        Command,
        messages::{Reply, RunState, Setup},
    },
    panics,
    session::{Checked, Commands, OpenDevices, Session, Update},
    source::Progress,
};

/// What this worker is asked for.
pub(super) enum RunRequest {
    Start(Box<Setup>),
    Command(Command),
}

pub(super) async fn work(requests: Requests<RunRequest>, replies: Replies, devices: OpenDevices, shared: Arc<Shared>) {
    #[cfg(not(target_arch = "wasm32"))]
    crate::device::compute_on_this_thread();
    while let Some(request) = requests.next().await {
        // Without a run there is nobody to receive a command.
        let RunRequest::Start(setup) = request else { continue };
        if !shared.closing.load(Ordering::SeqCst) {
            let (requests, replies, shared) = (&requests, &replies, &*shared);
            let mut worker = RunWorker { requests, replies, shared, state: RunState::Idle, stopped: false };
            let state = match worker.run(&setup, &devices).await {
                Ok(()) => RunState::Ended,
                Err(error) => RunState::Failed { message: error.to_string() },
            };
            worker.report(state);
        }
        shared.runs.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The worker while it has a run.
struct RunWorker<'a> {
    requests: &'a Requests<RunRequest>,
    replies: &'a Replies,
    shared: &'a Shared,
    /// What was reported last.
    state: RunState,
    /// Whether the run received a stop because nobody wants it any more.
    stopped: bool,
}

impl RunWorker<'_> {
    fn report(&mut self, state: RunState) {
        self.state = state.clone();
        self.replies.send(Reply::State { state });
    }

    /// A stop, once.
    fn stop(&mut self) -> Option<Command> {
        (!std::mem::replace(&mut self.stopped, true)).then_some(Command::Stop)
    }

    /// One run from its settings to its end; a panic on the way is an error.
    async fn run(&mut self, setup: &Setup, devices: &OpenDevices) -> Result<()> {
        // Outside of what may panic: a run with tensors of a device that is gone must not be dropped while unwinding.
        let mut session = None;
        self.shared.preparing.store(true, Ordering::SeqCst);
        let attempt = attempt(self.conduct(setup, &mut session, devices)).await;
        self.shared.preparing.store(false, Ordering::SeqCst);
        if let Err(panic) = &attempt {
            devices.forget();
            if let Some(session) = &mut session {
                session.fail(&panic.to_string());
            }
        }
        panics::let_go(session);
        attempt?
    }

    async fn conduct(&mut self, setup: &Setup, session: &mut Option<Session>, devices: &OpenDevices) -> Result<()> {
        let replies = self.replies;
        let report = |progress: Progress<'_>| {
            let (Progress::Stage(what) | Progress::Download(what)) = progress;
            replies.send(Reply::State { state: RunState::Preparing { what: what.to_owned() } });
        };
        let pinned = Checked::new(setup)?.pin(&report)?;
        let loaded = pinned.load(devices, false, &report).await?;
        self.shared.preparing.store(false, Ordering::SeqCst);
        if self.shared.closing.load(Ordering::SeqCst) {
            return Ok(());
        }
        let session = session.insert(loaded.prepare()?.start(&report).await?);
        while let Some(update) = session.next(&mut *self).await? {
            match update {
                Update::Event(event) => self.replies.send(Reply::Event { event: Box::new(event) }),
                Update::Running => self.report(RunState::Running),
                Update::Paused => self.report(RunState::Paused),
                Update::Received(_) => {}
            }
        }
        Ok(())
    }
}

impl Commands for RunWorker<'_> {
    async fn within(&mut self, time: Duration) -> Option<Command> {
        if self.shared.closing.load(Ordering::SeqCst) {
            return self.stop();
        }
        match self.requests.within(time).await {
            Received::Request(RunRequest::Command(command)) => Some(command),
            // One at a time.
            Received::Request(RunRequest::Start(_)) => {
                self.shared.runs.fetch_sub(1, Ordering::SeqCst);
                self.report(self.state.clone());
                None
            }
            // Nobody is there any more.
            Received::Closed => self.stop(),
            Received::Nothing => None,
        }
    }
}
