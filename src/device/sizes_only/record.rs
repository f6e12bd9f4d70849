//! What was allocated on a device that has only sizes, in order.

use std::sync::{Mutex, PoisonError};

/// Something that happened to the memory of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A buffer was taken, whose number no other has.
    Allocated {
        /// Its number.
        buffer: u64,
        /// Its bytes, rounded up to the device's alignment.
        bytes: u64,
        /// Whether it may hold a tensor. Others are the sizes that Burn's own kernels read.
        tensor: bool,
    },
    /// A buffer was given back.
    Freed {
        /// Its number.
        buffer: u64,
    },
    /// The work came to a place that has a name.
    Reached(&'static str),
}

/// The events since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct Record {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    events: Vec<Event>,
    buffers: u64,
}

impl Record {
    pub(super) fn allocated(&self, bytes: u64, tensor: bool) -> u64 {
        self.change(|inner| {
            let buffer = inner.buffers;
            inner.buffers += 1;
            inner.events.push(Event::Allocated { buffer, bytes, tensor });
            buffer
        })
    }

    pub(super) fn freed(&self, buffer: u64) {
        self.change(|inner| inner.events.push(Event::Freed { buffer }));
    }

    pub(super) fn reached(&self, place: &'static str) {
        self.change(|inner| inner.events.push(Event::Reached(place)));
    }

    pub(super) fn take(&self) -> Vec<Event> {
        self.change(|inner| std::mem::take(&mut inner.events))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
