//! How many shaders some work launches.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use cubecl::logging::{LaunchObservation, LaunchObserver};

#[derive(Default)]
struct Counter(AtomicUsize);

impl LaunchObserver for Counter {
    fn launched(&self, _kernel: &'static str) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Does `work` and counts the launches of this process meanwhile, on any device; the CPU device has none.
pub fn launches_during<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let counter = Arc::new(Counter::default());
    let observation = LaunchObservation::new(counter.clone());
    let result = work();
    drop(observation);
    (result, counter.0.load(Ordering::Relaxed))
}
