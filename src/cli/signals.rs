//! Ctrl-C and SIGTERM as a flag.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Becomes true at the first Ctrl-C or SIGTERM; a second one ends the program at once.
pub(super) fn stop_flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = flag.clone();
    // A second handler cannot be set; the first one then stays in charge.
    let _ = ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    flag
}

/// Ctrl-C in a conversation: stops what is being said, and ends the program where nothing is.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt {
    busy: Arc<AtomicBool>,
    asked: Arc<AtomicBool>,
}

/// Takes charge of Ctrl-C and SIGTERM.
pub(super) fn interrupt() -> Interrupt {
    let interrupt = Interrupt::default();
    let seen = interrupt.clone();
    let _ = ctrlc::set_handler(move || {
        if !seen.busy.load(Ordering::Relaxed) || seen.asked.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    interrupt
}

impl Interrupt {
    /// Something begins that can be stopped.
    pub(super) fn begin(&self) {
        self.asked.store(false, Ordering::Relaxed);
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Whether it is to stop.
    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// It has ended; whether it was stopped.
    pub(super) fn end(&self) -> bool {
        self.busy.store(false, Ordering::Relaxed);
        self.asked()
    }
}
