//! The file: header, metadata, list of tensors, then their bytes. Version 3, little-endian, everything aligned to 32.
//!
//! Layout as in the specification of the format (`docs/gguf.md` of ggml): `"GGUF"`, version u32, number of tensors u64,
//! number of metadata u64, the metadata (key, type u32, value), the tensors (name, number of dimensions u32, dimensions
//! u64 from the fastest to the slowest, type u32, offset u64 from the start of the bytes). A text is its length u64 and
//! its UTF-8 bytes.

use std::path::Path;

use super::encode::Encoding;
use crate::{Result, files::Pending};

const ALIGNMENT: u64 = 32;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Type 4.
    U32(u32),
    /// Type 6.
    F32(f32),
    /// Type 7.
    Bool(bool),
    /// Type 8.
    Text(String),
    /// Type 9 of type 8.
    Texts(Vec<String>),
    /// Type 9 of type 6.
    Floats(Vec<f32>),
    /// Type 9 of type 5.
    Integers(Vec<i32>),
}

/// Metadata in the order in which they are written.
pub type Metadata = Vec<(String, Value)>;

/// A tensor of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Rows first, as everywhere else; the file has them the other way round.
    pub dims: Vec<usize>,
    /// Its storage type.
    pub encoding: Encoding,
}

impl Info {
    fn bytes(&self) -> u64 {
        self.encoding.bytes(self.dims.iter().product())
    }
}

/// A file whose head is written; the tensors follow in the order of the list.
#[derive(Debug)]
pub struct Writer {
    file: Pending,
    written: u64,
}

impl Writer {
    /// Writes everything before the bytes of the tensors. The file appears under its name when it is
    /// [finished](Self::finish).
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(path: &Path, metadata: &Metadata, tensors: &[Info]) -> Result<Self> {
        let mut head = Vec::new();
        head.extend(b"GGUF");
        head.extend(3u32.to_le_bytes());
        head.extend((tensors.len() as u64).to_le_bytes());
        head.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            text(&mut head, key);
            put(&mut head, value);
        }
        let mut offset = 0u64;
        for tensor in tensors {
            text(&mut head, &tensor.name);
            head.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().rev().for_each(|&rows| head.extend((rows as u64).to_le_bytes()));
            head.extend(tensor.encoding.number().to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset += tensor.bytes().next_multiple_of(ALIGNMENT);
        }
        let mut writer = Self { file: Pending::create(path)?, written: 0 };
        writer.tensor(&head)?;
        Ok(writer)
    }

    /// Appends the bytes of the next tensor and fills up to the alignment.
    ///
    /// # Errors
    /// The disk is full.
    pub fn tensor(&mut self, bytes: &[u8]) -> Result<()> {
        let len = bytes.len() as u64;
        self.file.append(bytes)?;
        self.file.append(&vec![0; (len.next_multiple_of(ALIGNMENT) - len) as usize])?;
        self.written += len.next_multiple_of(ALIGNMENT);
        Ok(())
    }

    /// Puts the file in its place and returns its bytes.
    ///
    /// # Errors
    /// The disk is full.
    pub fn finish(self) -> Result<u64> {
        self.file.finish()?;
        Ok(self.written)
    }
}

fn text(head: &mut Vec<u8>, text: &str) {
    head.extend((text.len() as u64).to_le_bytes());
    head.extend(text.as_bytes());
}

fn put(head: &mut Vec<u8>, value: &Value) {
    let kind = |head: &mut Vec<u8>, number: u32| head.extend(number.to_le_bytes());
    let list = |head: &mut Vec<u8>, number: u32, len: usize| {
        kind(head, 9);
        kind(head, number);
        head.extend((len as u64).to_le_bytes());
    };
    match value {
        Value::U32(number) => {
            kind(head, 4);
            head.extend(number.to_le_bytes());
        }
        Value::F32(number) => {
            kind(head, 6);
            head.extend(number.to_le_bytes());
        }
        Value::Bool(flag) => {
            kind(head, 7);
            head.push(u8::from(*flag));
        }
        Value::Text(words) => {
            kind(head, 8);
            text(head, words);
        }
        Value::Texts(items) => {
            list(head, 8, items.len());
            items.iter().for_each(|item| text(head, item));
        }
        Value::Floats(items) => {
            list(head, 6, items.len());
            items.iter().for_each(|item| head.extend(item.to_le_bytes()));
        }
        Value::Integers(items) => {
            list(head, 5, items.len());
            items.iter().for_each(|item| head.extend(item.to_le_bytes()));
        }
    }
}
