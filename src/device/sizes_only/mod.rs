//! A device that has sizes and no values: model, method and step run on it as they are, and what they allocate is on record.
//!
//! It is a driver of our own below cubecl and Burn, which imitates an adapter by its [facts](DeviceFacts). Every buffer is
//! an allocation of its own there; [`Pages`] says what cubecl's allocator holds for them. (cubecl's `dry_run` would need the
//! real adapter, and skip the launches of every other thread as well; Burn's `capture` backend does not record when a tensor
//! is dropped.)

mod buffers;
mod commands;
mod driver;
mod pages;
mod record;

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use burn::{backend::DispatchDevice, tensor::Device};
use cubecl::client::Client;

use super::{ComputeDevice, DeviceFacts, adopt};
use crate::{Error, Result, panics};

pub use pages::Pages;
pub use record::Event;
pub(super) use record::Record;

/// A device that is imitated.
#[derive(Clone)]
struct Imitated {
    /// What it was made for, as far as it matters there.
    facts: DeviceFacts,
    handle: Device,
    record: Arc<Record>,
}

/// Those that there are: each has a thread, and keeps the kernels that it has compiled.
static IMITATED: Mutex<Vec<Imitated>> = Mutex::new(Vec::new());

/// A device that has only sizes, while some work has it to itself.
pub struct SizesOnly {
    /// The device. Its facts are those of the one that is imitated.
    pub device: ComputeDevice,
    record: Arc<Record>,
}

impl SizesOnly {
    /// Does `work` on an imitation of the device `facts`. One work follows the other there, and all of it runs on one thread,
    /// the device's own, so that its allocations come in the order of the program.
    ///
    /// # Errors
    /// Those of the work, a panic in it among them.
    pub fn with<T: Send + 'static>(facts: &DeviceFacts, work: impl FnOnce(&Self) -> Result<T> + Send) -> Result<T> {
        let Imitated { handle, record, .. } = imitated(facts)?;
        let client = client(&handle);
        let here = Self {
            device: ComputeDevice { handle: handle.clone(), facts: facts.clone(), reason: "for its sizes".into() },
            record,
        };
        let alone = || {
            // What work before this one has left.
            handle.memory_cleanup();
            client.memory_dedicated_allocation((), |()| panics::guard(|| work(&here)))
        };
        client.exclusive(alone).map_err(|e| Error::Run(format!("the estimate of memory failed: {e:?}")))?
    }

    /// What happens to the memory during `work`, to the return of the last buffer that it gives back.
    ///
    /// # Errors
    /// Those of the work.
    pub fn recorded<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<Event>)> {
        self.record.take();
        let result = work()?;
        self.give_back();
        Ok((result, self.record.take()))
    }

    /// Puts a mark on record: the work came to `place`.
    pub fn reached(&self, place: &'static str) {
        self.give_back();
        self.record.reached(place);
    }

    /// Gives free buffers back: the allocator does it before it takes another one.
    fn give_back(&self) {
        let client = client(&self.device.handle);
        // A device that only counts does not fail.
        drop(client.flush());
        drop(client.empty(1));
        drop(client.flush());
    }
}

fn client(device: &Device) -> Client {
    let DispatchDevice::Cube(device) = device.as_dispatch() else { unreachable!("it was made of wgpu's handles") };
    device.client()
}

fn imitated(facts: &DeviceFacts) -> Result<Imitated> {
    let wanted = DeviceFacts { index: 0, memory_bytes: None, max_binding_bytes: None, ..facts.clone() };
    let mut all = IMITATED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.iter().find(|known| known.facts == wanted) {
        return Ok(known.clone());
    }
    let record = Arc::new(Record::default());
    let (instance, adapter) = driver::handles(&wanted, record.clone());
    let limits = adapter.limits();
    let handle = at_once(adopt(instance, adapter, limits, &wanted, Some(record.clone())))?;
    let new = Imitated { facts: wanted, handle, record };
    all.push(new.clone());
    Ok(new)
}

/// The result of a future that waits for nothing but a device that has only sizes, which never lets it wait.
///
/// # Errors
/// Those of the future, or that it waits for something else.
pub fn at_once<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(Error::Run("the estimate of memory waits for values, of which there are none".into())),
    }
}
