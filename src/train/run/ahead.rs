//! How far a run may be ahead of its device: steps are queued without waiting for their figures, but not without bound.

use std::{collections::VecDeque, future::poll_fn, task::Poll};

use crate::{
    Result,
    device::{ComputeDevice, Done},
};

/// Most steps that are queued and not done, the newest aside.
const MOST: usize = 2;

/// The ends of steps that the device has not reached yet, as far as is known.
#[derive(Default)]
pub(super) struct Ahead(VecDeque<Done>);

impl Ahead {
    /// Marks the end of what is queued, and waits until no more than [`MOST`] marks are ahead of the device.
    ///
    /// # Errors
    /// The device failed.
    pub(super) async fn mark(&mut self, device: &ComputeDevice) -> Result<()> {
        let mut end = device.done();
        // The first look is what puts the mark into the queue.
        match poll_fn(|context| Poll::Ready(end.as_mut().poll(context))).await {
            Poll::Ready(done) => done?,
            Poll::Pending => self.0.push_back(end),
        }
        while self.0.len() > MOST {
            if let Some(oldest) = self.0.pop_front() {
                oldest.await?;
            }
        }
        Ok(())
    }

    /// All that was queued is done.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
