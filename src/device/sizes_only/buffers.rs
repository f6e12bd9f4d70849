//! Buffers that have a size and no memory.

use std::{ops::Range, sync::Arc};

use wgpu::custom::*;

use super::record::Record;

/// A buffer's size, which is on record for as long as the buffer lives.
#[derive(Debug)]
pub(super) struct Buffer {
    /// Its number on record; `None` where the host maps it, which is memory of the host.
    number: Option<u64>,
    record: Arc<Record>,
}

impl Buffer {
    pub(super) fn new(wanted: &wgpu::BufferDescriptor<'_>, record: &Arc<Record>) -> Self {
        let has = |usage| wanted.usage.contains(usage);
        // Of all buffers only those for tensors can hold the number of workgroups.
        let tensor = has(wgpu::BufferUsages::INDIRECT);
        let on_device = !has(wgpu::BufferUsages::MAP_READ);
        Self { number: on_device.then(|| record.allocated(wanted.size, tensor)), record: record.clone() }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.record.freed(number);
        }
    }
}

impl BufferInterface for Buffer {
    fn map_async(&self, _: wgpu::MapMode, _: Range<u64>, callback: BufferMapCallback) {
        callback(Ok(()));
    }

    fn get_mapped_range(&self, range: Range<u64>) -> Result<DispatchBufferMappedRange, wgpu::MapRangeError> {
        Ok(DispatchBufferMappedRange::custom(Bytes::zeros((range.end - range.start) as usize)))
    }

    fn unmap(&self) {}

    fn destroy(&self) {}
}

/// What is read from a buffer, and where what is written to one ends up.
#[derive(Debug)]
pub(super) struct Bytes(Vec<u8>);

impl Bytes {
    pub(super) fn zeros(len: usize) -> Self {
        Self(vec![0; len])
    }
}

impl BufferMappedRangeInterface for Bytes {
    fn len(&self) -> usize {
        self.0.len()
    }

    unsafe fn read_slice(&self) -> &[u8] {
        &self.0
    }

    unsafe fn write_slice(&mut self) -> wgpu::WriteOnly<'_, [u8]> {
        wgpu::WriteOnly::from_mut(&mut self.0[..])
    }

    #[cfg(target_arch = "wasm32")]
    fn as_uint8array(&self) -> &js_sys::Uint8Array {
        unreachable!("values that do not exist are no array of JavaScript's")
    }
}

impl QueueWriteBufferInterface for Bytes {
    fn len(&self) -> usize {
        self.0.len()
    }

    unsafe fn write_slice(&mut self) -> wgpu::WriteOnly<'_, [u8]> {
        wgpu::WriteOnly::from_mut(&mut self.0[..])
    }
}
