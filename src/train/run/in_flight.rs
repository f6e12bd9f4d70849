//! Steps in flight: they are queued on the device without waiting for their figures, but not without bound.

use std::{collections::VecDeque, future::poll_fn, task::Poll};

use crate::{
    Result,
    device::{ComputeDevice, Done},
};

/// Most steps that are queued and not done, the newest aside.
const MOST: usize = 2;

/// The ends of steps that the device has not reached yet, as far as is known.
#[derive(Default)]
pub(super) struct StepsInFlight(VecDeque<Done>);

impl StepsInFlight {
    /// Marks the end of the step that was queued last, and waits until no more than [`MOST`] marks are ahead of the
    /// device. Calls `done` for each step that is known to be done now, oldest first.
    ///
    /// # Errors
    /// The device failed.
    pub(super) async fn mark(&mut self, device: &ComputeDevice, mut done: impl FnMut()) -> Result<()> {
        let mut end = device.done();
        // The first look is what puts the mark into the queue.
        match poll_fn(|context| Poll::Ready(end.as_mut().poll(context))).await {
            Poll::Ready(reached) => {
                reached?;
                // Then all before it are done, too.
                self.0.drain(..).for_each(|_| done());
                done();
            }
            Poll::Pending => self.0.push_back(end),
        }
        self.wait(MOST, done).await
    }

    /// Waits until all steps that are marked are done, and calls `done` for each. The figures of a later step are then
    /// the next thing to wait for.
    ///
    /// # Errors
    /// The device failed.
    pub(super) async fn finish(&mut self, done: impl FnMut()) -> Result<()> {
        self.wait(0, done).await
    }

    async fn wait(&mut self, most: usize, mut done: impl FnMut()) -> Result<()> {
        while self.0.len() > most {
            if let Some(oldest) = self.0.pop_front() {
                oldest.await?;
                done();
            }
        }
        Ok(())
    }
}
