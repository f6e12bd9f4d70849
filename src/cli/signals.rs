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
