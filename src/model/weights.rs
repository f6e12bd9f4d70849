//! Reading the weights of a Hugging Face folder: one safetensors file or several with an index, of which only the parts
//! are read that are asked for.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    ops::Range,
    path::{Path, PathBuf},
};

use burn::tensor::Tensor;
use half::{bf16, f16};
use safetensors::{Dtype, tensor::Metadata};
use serde::Deserialize;

use super::parameter::{Parameter, ParameterSource, Role};
use crate::{
    Error, Result,
    device::ComputeDevice,
    kernel::{Matrix, Packing},
    storage::{self, View},
};

/// One tensor's place in a file.
#[derive(Clone, Debug)]
struct StoredTensor {
    shard: usize,
    dtype: Dtype,
    dims: Vec<usize>,
    /// Byte range in the file.
    range: Range<usize>,
}

/// Longest description of the tensors at the head of a file, in bytes, as the safetensors library has it.
const LONGEST_HEADER: usize = 100_000_000;

/// All tensors of a checkpoint, by name.
#[derive(Debug)]
pub struct Weights {
    shards: Vec<(PathBuf, View)>,
    entries: BTreeMap<String, StoredTensor>,
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens `model.safetensors`, or the files that `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// No such file, a file that is cut off or lies about its tensors, or a tensor listed in a file that lacks it.
    pub fn open(folder: &Path) -> Result<Self> {
        let single = folder.join("model.safetensors");
        let index_path = folder.join("model.safetensors.index.json");
        let files: Vec<PathBuf> = if storage::exists(&single) {
            vec![single]
        } else if storage::exists(&index_path) {
            let text = storage::read_to_string(&index_path).map_err(|e| Error::file("read", &index_path, e))?;
            let index: Index = serde_json::from_str(&text)
                .map_err(|e| Error::input(format!("{}: not a safetensors index: {e}", index_path.display())))?;
            let names: std::collections::BTreeSet<_> = index.weight_map.into_values().collect();
            names.into_iter().map(|name| folder.join(name)).collect()
        } else {
            return Err(Error::input(format!(
                "{}: there is neither model.safetensors nor model.safetensors.index.json; give a Hugging Face model \
                 folder with safetensors weights",
                folder.display()
            )));
        };
        let mut weights = Self { shards: Vec::new(), entries: BTreeMap::new() };
        for path in files {
            let view = storage::view(&path).map_err(|e| Error::file("open", &path, e))?;
            weights.add(path, view)?;
        }
        Ok(weights)
    }

    /// The tensors of one safetensors file in memory; `name` is for messages.
    ///
    /// # Errors
    /// Bytes that are cut off or lie about their tensors.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let mut weights = Self { shards: Vec::new(), entries: BTreeMap::new() };
        weights.add(PathBuf::from(name), View::from(bytes))?;
        Ok(weights)
    }

    fn add(&mut self, path: PathBuf, view: View) -> Result<()> {
        let (metadata, start) = described(&view).map_err(|e| {
            Error::input(format!("{}: not a whole safetensors file ({e}); copy or download it again", path.display()))
        })?;
        let shard = self.shards.len();
        for (name, info) in metadata.tensors() {
            let range = start + info.data_offsets.0..start + info.data_offsets.1;
            self.entries.insert(name, StoredTensor { shard, dtype: info.dtype, dims: info.shape.clone(), range });
        }
        self.shards.push((path, view));
        Ok(())
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Shape of a tensor.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| &entry.dims[..])
    }

    /// Storage type of a tensor.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.entries.get(name).map(|entry| entry.dtype)
    }

    /// The name under which the parameter `name` of a model is stored: its own, or as checkpoints of headless models
    /// (without the first part) and early BERTs (`gamma` and `beta`) call it.
    pub fn alias(&self, name: &str) -> Option<&str> {
        let headless = name.split_once('.').map_or(name, |(_, rest)| rest);
        [name, headless].into_iter().find_map(|name| {
            let early = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
            [name, &early].into_iter().find_map(|name| self.entries.get_key_value(name)).map(|(key, _)| key.as_str())
        })
    }

    /// Bytes that a tensor takes in its file; 0 for one that is missing.
    pub fn stored_bytes(&self, name: &str) -> usize {
        self.entries.get(name).map_or(0, |entry| entry.range.len())
    }

    /// Bytes of a tensor as stored, little-endian.
    ///
    /// # Errors
    /// A missing tensor, or a file that can no longer be read.
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let entry = self.entry(name)?;
        let (path, view) = &self.shards[entry.shard];
        view.slice(entry.range.clone()).map_err(|e| Error::file("read", path, e))
    }

    fn entry(&self, name: &str) -> Result<&StoredTensor> {
        self.entries.get(name).ok_or_else(|| Error::input(format!("the tensor {name} is missing")))
    }

    /// A tensor's values in f32.
    ///
    /// # Errors
    /// A missing tensor, or one that is not stored in f32, f16 or bf16.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let entry = self.entry(name)?;
        floats_from(&self.bytes(name)?, entry.dtype).ok_or_else(|| {
            let path = self.shards[entry.shard].0.display();
            Error::input(format!(
                "{path}: tensor {name} is stored as {:?}; supported are F32, F16 and BF16",
                entry.dtype
            ))
        })
    }

    /// Values of a tensor of unsigned or non-negative 32-bit integers.
    ///
    /// # Errors
    /// A missing tensor, or one of another type.
    pub fn indices(&self, name: &str) -> Result<Vec<u32>> {
        let entry = self.entry(name)?;
        if !matches!(entry.dtype, Dtype::U32 | Dtype::I32) {
            let path = self.shards[entry.shard].0.display();
            return Err(Error::input(format!("{path}: tensor {name} is stored as {:?}, not U32", entry.dtype)));
        }
        Ok(self.bytes(name)?.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
    }
}

/// The description of the tensors at the head of a safetensors file, and where their bytes begin. The library for these
/// files wants all bytes of a file at once, of which a browser has no room.
fn described(view: &View) -> std::result::Result<(Metadata, usize), String> {
    let part = |range| view.slice(range).map_err(|e| e.to_string());
    let length = part(0..8).map_err(|_| "it has less than 8 bytes".to_owned())?;
    let length = u64::from_le_bytes((*length).try_into().expect("8 bytes"));
    let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST_HEADER);
    let length = length.ok_or("its description is too long")?;
    let text = part(8..8 + length).map_err(|_| "its description is cut off".to_owned())?;
    let metadata: Metadata = serde_json::from_slice(&text).map_err(|e| format!("its description is wrong: {e}"))?;
    let (found, expected) = (view.len(), 8 + length + metadata.data_len());
    if found != expected {
        return Err(format!("it has {found} bytes instead of {expected}"));
    }
    Ok((metadata, 8 + length))
}

/// Little-endian bytes as f32; `None` for a type that is not a supported float.
fn floats_from(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    let halves = || bytes.as_chunks::<2>().0.iter().map(|half| u16::from_le_bytes(*half));
    match dtype {
        Dtype::F32 => Some(bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()),
        Dtype::F16 => Some(halves().map(|bits| f16::from_bits(bits).to_f32()).collect()),
        Dtype::BF16 => Some(halves().map(|bits| bf16::from_bits(bits).to_f32()).collect()),
        _ => None,
    }
}

/// How the weights of a model are kept on a GPU. On the CPU device all are in f32; quantized ones have the same values there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Matrices of 16-bit checkpoints keep their 16 bits; without it all is in f32.
    pub packed: bool,
    /// Weights of linear layers are quantized.
    pub quantized: Option<Packing>,
}

impl Keeping {
    /// Everything in f32.
    pub const F32: Self = Self { packed: false, quantized: None };
    /// As the checkpoint has it.
    pub const AS_STORED: Self = Self { packed: true, quantized: None };

    /// How a tensor is kept that the checkpoint has in 16 bits (`stored`) or in f32; `None` is f32. Small tensors are kept
    /// in f32, and so is the head of a classifier, which every method trains; so `classifier` says whether it is that.
    pub fn packing(self, stored: Option<Packing>, dims: &[usize], role: Role, classifier: bool) -> Option<Packing> {
        let width = dims.last().copied().unwrap_or(0);
        let linear = matches!(role, Role::Linear | Role::TransposedLinear);
        let matrix = dims.len() == 2 && (linear || matches!(role, Role::Embedding | Role::Head));
        if !matrix || classifier {
            return None;
        }
        let quantized = self.quantized.filter(|packing| linear && packing.fits(width));
        quantized.or(stored.filter(|_| self.packed))
    }
}

/// The packing of a checkpoint's storage type; `None` for f32.
pub fn packing_of(dtype: Dtype) -> Option<Packing> {
    match dtype {
        Dtype::BF16 => Some(Packing::Bf16),
        Dtype::F16 => Some(Packing::F16),
        _ => None,
    }
}

/// Gives a new transformer the tensors of a checkpoint and gathers everything that does not fit.
pub struct Loader<'a> {
    weights: &'a Weights,
    device: &'a ComputeDevice,
    keeping: Keeping,
    /// What the names of the classification head's tensors begin with, if the model has one.
    classifier: Option<&'a str>,
    used: HashSet<String>,
    problems: Vec<String>,
}

impl<'a> Loader<'a> {
    /// A loader onto `device`; the names of the classification head's tensors begin with `classifier`.
    pub fn new(weights: &'a Weights, device: &'a ComputeDevice, keeping: Keeping, classifier: Option<&'a str>) -> Self {
        Self { weights, device, keeping, classifier, used: HashSet::new(), problems: Vec::new() }
    }

    /// Every mismatch between file and architecture in one error, by tensor name. `problem` tells what is wrong with a tensor
    /// that is left over, if anything is.
    ///
    /// # Errors
    /// Any tensor that was missing, had another shape or type, or that the architecture has no place for.
    pub fn finish(mut self, folder: &Path, problem: impl Fn(&str) -> Option<&'static str>) -> Result<()> {
        let left_over = self.weights.names().filter(|name| !self.used.contains(*name));
        self.problems.extend(left_over.filter_map(|name| Some(format!("{name}: {}", problem(name)?))));
        if self.problems.is_empty() {
            return Ok(());
        }
        let shown = self.problems.iter().take(20).map(|problem| format!("\n  {problem}")).collect::<String>();
        let more = self.problems.len().saturating_sub(20);
        let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        Err(Error::input(format!(
            "{}: the weights do not fit config.json ({} tensors):{shown}{more}",
            folder.display(),
            self.problems.len()
        )))
    }

    /// A tensor as it is kept, `[rows, cols]`.
    fn matrix(&mut self, name: &str, dims: &[usize], role: Role) -> Result<Matrix, String> {
        let Some(stored) = self.weights.alias(name) else {
            return Err(format!("{name}: missing, expected shape {dims:?}"));
        };
        let found = self.weights.dims(stored).unwrap_or_default();
        self.used.insert(stored.to_owned());
        if found != dims {
            return Err(format!("{name}: has shape {found:?}, config.json asks for {dims:?}"));
        }
        let rows = if dims.len() == 1 { 1 } else { dims[0] };
        let dims_2 = [rows, dims[dims.len() - 1]];
        let of_file = self.weights.dtype(stored).and_then(packing_of);
        let classifier = self.classifier.is_some_and(|prefix| name.starts_with(prefix));
        let (packing, cpu) = (self.keeping.packing(of_file, dims, role, classifier), self.device.is_cpu());
        let limit = self.device.facts.max_binding_bytes.filter(|_| role.by_rows());
        if let Some(packing) = packing.filter(|packing| Some(*packing) == of_file && !cpu) {
            let bytes = self.weights.bytes(stored).map_err(|e| e.to_string())?;
            return Ok(Matrix::from_bytes(&bytes, packing, dims_2, self.device, limit));
        }
        let values = self.weights.floats(stored).map_err(|e| e.to_string())?;
        let (values, packing) = match packing {
            Some(packing) if cpu && packing.quantized() => (packing.rounded(&values), None),
            packing => (values, packing.filter(|_| !cpu)),
        };
        Ok(Matrix::from_values(values, packing, dims_2, self.device, limit))
    }
}

impl ParameterSource for Loader<'_> {
    fn parameter(&mut self, name: &str, dims: &[usize], role: Role) -> Parameter {
        let value = self.matrix(name, dims, role).unwrap_or_else(|problem| {
            // A stand-in, never used: `finish` refuses the model.
            self.problems.push(problem);
            Matrix::Dense(Tensor::zeros([1, 1], &self.device.handle))
        });
        Parameter::new(name, dims.to_vec(), role, value)
    }
}
