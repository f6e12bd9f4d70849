//! What the workers must know at once, whatever else they are doing.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

/// Counters and flags that front end and workers share.
#[derive(Default)]
pub(super) struct Shared {
    /// Runs that were asked for and are not over.
    pub runs: AtomicUsize,
    /// Checks that were asked for: only the newest matters.
    pub checks: AtomicU64,
    /// Generations that were asked for.
    pub generations: AtomicU64,
    /// How many of them, from the first on, are to end.
    pub interrupted: AtomicU64,
    /// Whether a run is being prepared, which leaves nothing behind that could be half written.
    pub preparing: AtomicBool,
    /// Whether the workers are to end.
    pub closing: AtomicBool,
}
