//! How the desk's workers run beside each other: threads where there are threads, tasks that take turns in a browser.

use std::{
    sync::mpsc::{Receiver, TryRecvError},
    time::Duration,
};

use crate::Result;

/// What came of listening for a while.
pub(super) enum Heard<W> {
    /// Something that is wished for.
    Wish(W),
    /// Nothing.
    Silence,
    /// Nobody can wish for anything any more.
    Gone,
}

/// The ear of a worker.
pub(super) struct Ear<W>(Receiver<W>);

impl<W> Ear<W> {
    /// The ear at the end of a channel.
    pub(super) fn new(wishes: Receiver<W>) -> Self {
        Self(wishes)
    }

    /// What is wished for already.
    pub(super) fn now(&self) -> Heard<W> {
        match self.0.try_recv() {
            Ok(wish) => Heard::Wish(wish),
            Err(TryRecvError::Empty) => Heard::Silence,
            Err(TryRecvError::Disconnected) => Heard::Gone,
        }
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

    impl<W> Ear<W> {
        /// Waits for the next wish; `None` when there can be none any more.
        pub(in crate::desk) async fn next(&self) -> Option<W> {
            self.0.recv().ok()
        }

        /// Waits for the next wish, but no longer than `time`.
        pub(in crate::desk) async fn within(&self, time: Duration) -> Heard<W> {
            match self.0.recv_timeout(time) {
                Ok(wish) => Heard::Wish(wish),
                Err(RecvTimeoutError::Timeout) => Heard::Silence,
                Err(RecvTimeoutError::Disconnected) => Heard::Gone,
            }
        }
    }

    /// A worker at work.
    pub(in crate::desk) struct Worker(Option<JoinHandle<()>>);

    impl Worker {
        /// Starts it on a thread of its own. Where the system has no room for one, its first wish will show it.
        pub(in crate::desk) fn start<F: Future<Output = ()>>(
            name: &str,
            work: impl FnOnce() -> F + Send + 'static,
        ) -> Self {
            let thread = Builder::new().name(format!("agoge {name}")).stack_size(STACK_BYTES);
            Self(thread.spawn(move || block_on(work())).ok())
        }

        /// Waits for its end.
        pub(in crate::desk) fn join(self) {
            if let Some(thread) = self.0 {
                let _ = thread.join();
            }
        }
    }

    /// Does a piece of work whose panics become errors: the inner result is the work's own.
    ///
    /// # Errors
    /// The work panicked.
    pub(in crate::desk) async fn attempt<T>(work: impl Future<Output = Result<T>>) -> Result<Result<T>> {
        panics::attempt(|| block_on(work))
    }

    /// Lets the others have their turn, which threads have anyway.
    pub(in crate::desk) async fn breathe() {}
}

#[cfg(target_arch = "wasm32")]
mod platform {
    use js_sys::{Function, Promise};
    use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
    use wasm_bindgen_futures::{JsFuture, spawn_local};

    use super::*;

    /// Pause between two looks at the wishes.
    const LOOK: Duration = Duration::from_millis(15);

    #[wasm_bindgen]
    extern "C" {
        #[wasm_bindgen(js_name = setTimeout)]
        fn set_timeout(then: &Function, millis: i32);
    }

    async fn sleep(time: Duration) {
        let wait = Promise::new(&mut |done, _| set_timeout(&done, time.as_millis() as i32));
        let _ = JsFuture::from(wait).await;
    }

    impl<W> Ear<W> {
        /// Waits for the next wish; `None` when there can be none any more.
        pub(in crate::desk) async fn next(&self) -> Option<W> {
            loop {
                match self.within(Duration::MAX).await {
                    Heard::Wish(wish) => return Some(wish),
                    Heard::Gone => return None,
                    Heard::Silence => {}
                }
            }
        }

        /// Waits for the next wish, but no longer than `time`.
        pub(in crate::desk) async fn within(&self, time: Duration) -> Heard<W> {
            let asked = web_time::Instant::now();
            loop {
                match self.now() {
                    Heard::Silence if asked.elapsed() < time => sleep(LOOK.min(time)).await,
                    heard => return heard,
                }
            }
        }
    }

    /// A worker at work.
    pub(in crate::desk) struct Worker;

    impl Worker {
        /// Starts it as a task that takes turns with the others.
        pub(in crate::desk) fn start<F: Future<Output = ()> + 'static>(_name: &str, work: impl FnOnce() -> F) -> Self {
            spawn_local(work());
            Self
        }

        /// In a browser nobody can wait for a task's end.
        pub(in crate::desk) fn join(self) {}
    }

    /// Does a piece of work. A panic ends everything in a browser; the page then starts anew.
    ///
    /// # Errors
    /// None.
    pub(in crate::desk) async fn attempt<T>(work: impl Future<Output = Result<T>>) -> Result<Result<T>> {
        Ok(work.await)
    }

    /// Lets the others have their turn. A message to itself comes sooner than any timer, of which browsers demand pauses.
    pub(in crate::desk) async fn breathe() {
        let Ok(channel) = web_sys::MessageChannel::new() else { return sleep(Duration::ZERO).await };
        let (port, other) = (channel.port1(), channel.port2());
        let turn = Promise::new(&mut |done, _| port.set_onmessage(Some(done.unchecked_ref())));
        let _ = other.post_message(&JsValue::NULL);
        let _ = JsFuture::from(turn).await;
        port.close();
    }
}

pub(super) use platform::*;
