//! Steps whose figures stay on the device until a report reads them together.

use burn::tensor::Tensor;

use super::stopwatch::Stopwatch;

/// A step whose figures are still on the device.
pub(super) struct Queued {
    /// Its number, from 1.
    pub step: u64,
    pub learning_rate: f64,
    pub tokens: u64,
    pub loss: Tensor<1>,
    pub squared_norm: Tensor<1>,
    /// Seconds trained when it was known to be done.
    pub done_at: Option<f64>,
}

/// Notes that the oldest step that was not known to be done is.
pub(super) fn note_done(queued: &mut [Queued], stopwatch: &Stopwatch) {
    if let Some(step) = queued.iter_mut().find(|step| step.done_at.is_none()) {
        step.done_at = Some(stopwatch.seconds());
    }
}
