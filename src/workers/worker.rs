//! How workers run beside each other: threads where there are threads, tasks that take turns in a browser.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, TryRecvError},
    },
    time::Duration,
};

use crate::{Result, event::messages::Reply};

/// What came of waiting for a request.
pub(super) enum Received<R> {
    /// A request.
    Request(R),
    /// Nothing.
    Nothing,
    /// There can be no requests any more.
    Closed,
}

/// Where a worker's requests arrive.
pub(super) struct Requests<R>(Receiver<R>);

impl<R> Requests<R> {
    /// The end of a channel.
    pub(super) fn new(receiver: Receiver<R>) -> Self {
        Self(receiver)
    }

    /// A request that is there already.
    pub(super) fn now(&self) -> Received<R> {
        match self.0.try_recv() {
            Ok(request) => Received::Request(request),
            Err(TryRecvError::Empty) => Received::Nothing,
            Err(TryRecvError::Disconnected) => Received::Closed,
        }
    }
}

/// Where workers send their replies.
#[derive(Clone)]
pub(super) struct Replies {
    replies: Sender<Reply>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Replies {
    /// Replies go into a channel; `wake` is called after each of them.
    pub(super) fn new(replies: Sender<Reply>, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { replies, wake }
    }

    /// Sends a reply.
    pub(super) fn send(&self, reply: Reply) {
        if self.replies.send(reply).is_ok() {
            (self.wake)();
        }
    }

    /// Reports what is being done for a task.
    pub(super) fn doing(&self, number: u64, text: String) {
        self.send(Reply::Task { number, text, ending: None });
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod platform {
    use std::{
        sync::mpsc::RecvTimeoutError,
        thread::{Builder, JoinHandle},
    };

    use pollster::block_on;

    use super::*;
    use crate::panics;

    /// Stack of a thread that computes: as much as the first thread of a program has.
    const STACK_BYTES: usize = 8 << 20;

    impl<R> Requests<R> {
        /// Waits for the next request; `None` when there can be none any more.
        pub(in crate::workers) async fn next(&self) -> Option<R> {
            self.0.recv().ok()
        }

        /// Waits for the next request, but no longer than `time`.
        pub(in crate::workers) async fn within(&self, time: Duration) -> Received<R> {
            if time.is_zero() {
                return self.now();
            }
            match self.0.recv_timeout(time) {
                Ok(request) => Received::Request(request),
                Err(RecvTimeoutError::Timeout) => Received::Nothing,
                Err(RecvTimeoutError::Disconnected) => Received::Closed,
            }
        }
    }

    /// A worker at work.
    pub(in crate::workers) struct Worker(Option<JoinHandle<()>>);

    impl Worker {
        /// Starts it on a thread of its own. Where the system has no room for one, its first request will show it.
        pub(in crate::workers) fn start<F: Future<Output = ()>>(
            name: &str,
            work: impl FnOnce() -> F + Send + 'static,
        ) -> Self {
            let thread = Builder::new().name(format!("agoge {name}")).stack_size(STACK_BYTES);
            Self(thread.spawn(move || block_on(work())).ok())
        }

        /// Waits for its end.
        pub(in crate::workers) fn join(self) {
            if let Some(thread) = self.0 {
                let _ = thread.join();
            }
        }
    }

    /// Does a piece of work whose panics become errors: the inner result is the work's own.
    ///
    /// # Errors
    /// The work panicked.
    pub(in crate::workers) async fn attempt<T>(work: impl Future<Output = Result<T>>) -> Result<Result<T>> {
        panics::attempt(|| block_on(work))
    }
}

#[cfg(target_arch = "wasm32")]
mod platform {
    use wasm_bindgen_futures::spawn_local;

    use super::*;
    use crate::session::sleep;

    /// Pause between two looks for requests.
    const LOOK: Duration = Duration::from_millis(15);

    impl<R> Requests<R> {
        /// Waits for the next request; `None` when there can be none any more.
        pub(in crate::workers) async fn next(&self) -> Option<R> {
            loop {
                match self.within(Duration::MAX).await {
                    Received::Request(request) => return Some(request),
                    Received::Closed => return None,
                    Received::Nothing => {}
                }
            }
        }

        /// Waits for the next request, but no longer than `time`.
        pub(in crate::workers) async fn within(&self, time: Duration) -> Received<R> {
            let begun = web_time::Instant::now();
            loop {
                match self.now() {
                    Received::Nothing if begun.elapsed() < time => sleep(LOOK.min(time)).await,
                    received => return received,
                }
            }
        }
    }

    /// A worker at work.
    pub(in crate::workers) struct Worker;

    impl Worker {
        /// Starts it as a task that takes turns with the others.
        pub(in crate::workers) fn start<F: Future<Output = ()> + 'static>(
            _name: &str,
            work: impl FnOnce() -> F,
        ) -> Self {
            spawn_local(work());
            Self
        }

        /// In a browser nobody can wait for a task's end.
        pub(in crate::workers) fn join(self) {}
    }

    /// Does a piece of work. A panic ends everything in a browser; the page then starts anew.
    ///
    /// # Errors
    /// None.
    pub(in crate::workers) async fn attempt<T>(work: impl Future<Output = Result<T>>) -> Result<Result<T>> {
        Ok(work.await)
    }
}

pub(super) use platform::*;
