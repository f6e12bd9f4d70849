//! What an allocator holds of a device for the buffers that are in use: cubecl's own memory management over storage that only
//! counts.

use std::{collections::HashMap, sync::Arc};

use cubecl::{ir::MemoryDeviceProperties, logging::ServerLogger, server::IoError};
use cubecl_server::{
    memory_management::{
        ErrorGraph, ManagedMemoryHandle, MemoryConfiguration, MemoryManagement, MemoryManagementOptions, PageUpdate,
    },
    storage::{ComputeStorage, StorageHandle, StorageId, StorageUtilization},
};

/// Storage of which pages are only counted.
#[derive(Default)]
struct Counted {
    alignment: usize,
    pages: HashMap<StorageId, u64>,
    held: u64,
}

impl ComputeStorage for Counted {
    type Resource = ();

    fn alignment(&self) -> usize {
        self.alignment
    }

    fn get(&mut self, _: &StorageHandle) -> Result<(), IoError> {
        Ok(())
    }

    fn alloc(&mut self, size: u64) -> Result<StorageHandle, IoError> {
        let id = StorageId::new();
        self.pages.insert(id, size);
        self.held += size;
        Ok(StorageHandle::new(id, StorageUtilization { offset: 0, size }))
    }

    fn dealloc(&mut self, id: StorageId) {
        self.held -= self.pages.remove(&id).unwrap_or(0);
    }

    fn flush(&mut self) {}

    fn bytes_allocated(&self) -> u64 {
        self.held
    }
}

/// The pages of a device.
pub struct Pages {
    memory: MemoryManagement<Counted>,
    /// Where each buffer is; one that is larger than any page has its bytes counted.
    buffers: HashMap<u64, Result<ManagedMemoryHandle, u64>>,
    failures: ErrorGraph,
    beyond_pages: u64,
}

impl Pages {
    /// Those of a device whose largest page has `largest` bytes, and on which buffers begin at multiples of `alignment`.
    pub fn new(largest: u64, alignment: u32) -> Self {
        let storage = Counted { alignment: alignment as usize, ..Counted::default() };
        let memory = MemoryManagement::from_configuration(
            storage,
            &MemoryDeviceProperties::new(largest, u64::from(alignment)),
            MemoryConfiguration::default(),
            Arc::new(ServerLogger::default()),
            MemoryManagementOptions::new("Estimate"),
        );
        Self { memory, buffers: HashMap::new(), failures: ErrorGraph::default(), beyond_pages: 0 }
    }

    /// Makes room for a buffer.
    pub fn allocate(&mut self, buffer: u64, bytes: u64) {
        let place = self.memory.reserve(bytes, PageUpdate::Allow, &mut self.failures).map_err(|_| bytes);
        self.beyond_pages += place.as_ref().err().copied().unwrap_or(0);
        self.buffers.insert(buffer, place);
    }

    /// Gives the room of a buffer back.
    pub fn free(&mut self, buffer: u64) {
        if let Some(Err(bytes)) = self.buffers.remove(&buffer) {
            self.beyond_pages -= bytes;
        }
    }

    /// Bytes of all pages.
    pub fn held(&self) -> u64 {
        self.memory.bytes_allocated() + self.beyond_pages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn pages_hold_what_is_in_use_and_more() {
        let mut pages = Pages::new(128 * MIB, 256);
        assert_eq!(pages.held(), 0);
        pages.allocate(0, MIB);
        let first = pages.held();
        assert!(first >= MIB, "{first}");
        pages.free(0);
        pages.allocate(1, MIB);
        assert_eq!(pages.held(), first, "freed room is used again");
        pages.allocate(2, 100 * MIB);
        assert!(pages.held() >= 101 * MIB, "{}", pages.held());
        // No page holds it, so it counts by itself, while it is there.
        let before = pages.held();
        pages.allocate(3, 200 * MIB);
        assert_eq!(pages.held(), before + 200 * MIB);
        pages.free(3);
        assert_eq!(pages.held(), before);
    }
}
