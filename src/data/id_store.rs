//! A long list of token ids that does not live on the heap: two bytes an id where the vocabulary allows, else four.
//!
//! Ids are appended through [`IdWriter`], which spills to an unnamed temporary file, mapped afterwards. Short lists,
//! and platforms without files, stay in memory.

#[cfg(not(target_arch = "wasm32"))]
use std::io::Write;
use std::ops::Range;

use crate::error::{Error, Result};

/// Above this many bytes the ids go to a file.
#[cfg(not(target_arch = "wasm32"))]
const SPILL_BYTES: usize = 4 << 20;

/// Finished, read-only ids.
pub(crate) struct IdStore {
    bytes: Bytes,
    width: usize,
    length: usize,
    max_id: u32,
    counted: usize,
}

enum Bytes {
    #[cfg(not(target_arch = "wasm32"))]
    Mapped(memmap2::Mmap),
    Memory(Vec<u8>),
}

/// Takes ids in order.
pub(crate) struct IdWriter {
    buffer: Vec<u8>,
    #[cfg(not(target_arch = "wasm32"))]
    file: Option<std::fs::File>,
    #[cfg(not(target_arch = "wasm32"))]
    keep_in_memory: bool,
    width: usize,
    length: usize,
    max_id: u32,
    count_id: Option<u32>,
    counted: usize,
}

impl IdWriter {
    /// A writer for ids below `id_bound`.
    pub(crate) fn new(id_bound: usize) -> Self {
        Self {
            buffer: Vec::new(),
            #[cfg(not(target_arch = "wasm32"))]
            file: None,
            #[cfg(not(target_arch = "wasm32"))]
            keep_in_memory: false,
            width: if id_bound <= 1 << 16 { 2 } else { 4 },
            length: 0,
            max_id: 0,
            count_id: None,
            counted: 0,
        }
    }

    /// Counts how often `id` comes.
    pub(crate) fn counting(mut self, id: Option<u32>) -> Self {
        self.count_id = id;
        self
    }

    /// Number of ids so far.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Appends `ids`.
    pub(crate) fn extend(&mut self, ids: &[u32]) -> Result<()> {
        for &id in ids {
            self.max_id = self.max_id.max(id);
            self.counted += usize::from(self.count_id == Some(id));
            if self.width == 2 {
                let short = u16::try_from(id).map_err(|_| {
                    Error::input(format!(
                        "the tokenizer gave id {id}, which is outside its own vocabulary: its files do not fit together"
                    ))
                })?;
                self.buffer.extend(short.to_le_bytes());
            } else {
                self.buffer.extend(id.to_le_bytes());
            }
        }
        self.length += ids.len();
        #[cfg(not(target_arch = "wasm32"))]
        if self.buffer.len() >= SPILL_BYTES && !self.keep_in_memory {
            self.spill()?;
        }
        Ok(())
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn spill(&mut self) -> Result<()> {
        if self.file.is_none() {
            // No place for temporary files is no reason to stop: memory may still be enough.
            let Ok(file) = tempfile::tempfile() else {
                self.keep_in_memory = true;
                return Ok(());
            };
            self.file = Some(file);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.buffer).map_err(temp_error)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Ends writing.
    pub(crate) fn finish(mut self) -> Result<IdStore> {
        #[cfg(not(target_arch = "wasm32"))]
        let bytes = if self.file.is_some() {
            self.spill()?;
            match self.file {
                // SAFETY: the file has no name and this is its only handle, so nothing else can change or shorten it.
                Some(file) => Bytes::Mapped(unsafe { memmap2::Mmap::map(&file) }.map_err(temp_error)?),
                None => Bytes::Memory(self.buffer),
            }
        } else {
            self.buffer.shrink_to_fit();
            Bytes::Memory(self.buffer)
        };
        #[cfg(target_arch = "wasm32")]
        let bytes = {
            self.buffer.shrink_to_fit();
            Bytes::Memory(self.buffer)
        };
        Ok(IdStore { bytes, width: self.width, length: self.length, max_id: self.max_id, counted: self.counted })
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn temp_error(source: std::io::Error) -> Error {
    Error::file("write token ids to a temporary file in", &std::env::temp_dir(), source)
}

impl IdStore {
    /// Number of ids.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The largest id (0 when there are none).
    pub(crate) fn max_id(&self) -> u32 {
        self.max_id
    }

    /// How often the counted id comes.
    pub(crate) fn counted(&self) -> usize {
        self.counted
    }

    /// Feeds all ids into a digest.
    pub(crate) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&[self.width as u8]).update(self.bytes());
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            #[cfg(not(target_arch = "wasm32"))]
            Bytes::Mapped(map) => map,
            Bytes::Memory(bytes) => bytes,
        }
    }

    /// The ids of a range, which must lie inside.
    pub(crate) fn get(&self, range: Range<usize>) -> Vec<u32> {
        let bytes = &self.bytes()[range.start * self.width..range.end * self.width];
        if self.width == 2 {
            bytes.chunks_exact(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect()
        } else {
            bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_at_both_widths_and_from_a_file() {
        for (bound, count) in [(65_536, 10u32), (65_536, 5_000_000), (65_537, 10), (100_000, 2_500_000)] {
            let id = |index: u32| index.wrapping_mul(2_654_435_761) % bound as u32;
            let mut writer = IdWriter::new(bound);
            let mut next = 0;
            while next < count {
                let end = (next + 700_001).min(count);
                writer.extend(&(next..end).map(id).collect::<Vec<_>>()).expect("extend");
                next = end;
            }
            assert_eq!(writer.len(), count as usize);
            let store = writer.finish().expect("finish");
            assert_eq!(matches!(store.bytes, Bytes::Mapped(_)), count > 10);
            assert_eq!(store.len(), count as usize);
            assert_eq!(store.get(0..count as usize), (0..count).map(id).collect::<Vec<_>>());
            assert_eq!(store.get(5..7), [id(5), id(6)]);
            assert_eq!(store.max_id(), (0..count).map(id).max().expect("some"));
        }
        assert!(IdWriter::new(5).finish().expect("finish").get(0..0).is_empty());
    }

    #[test]
    fn an_id_outside_the_vocabulary_is_an_error() {
        assert!(IdWriter::new(100).extend(&[70_000]).is_err());
    }
}
