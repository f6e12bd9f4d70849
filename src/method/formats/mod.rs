//! Layouts of adapter folders: one file each, one line in [`FORMATS`]. Reading is by content, so that every `--adapter`
//! takes all of them; writing is `agoge export`.

mod lora;
mod native;
mod peft;
mod shira;
mod sparta;
mod torch;

use std::path::Path;

use serde_json::Value;

use super::{
    adapter::{Adapter, BaseModel, Classify, INFO, Info, NAME, VERSION},
    change::{Change, HookChange, TensorChange},
};
use crate::{
    Error, Result,
    model::{Pretrained, Transformer, weights::Weights},
    storage,
};

/// Files of a folder that are not yet written: name and bytes.
pub type Files = Vec<(&'static str, Vec<u8>)>;

/// One layout of an adapter folder.
#[derive(Debug)]
pub struct Format {
    /// Name for `--format`.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// The file by which a folder is recognised.
    pub marker: &'static str,
    /// Reads the files; nothing is compared with a model yet.
    pub open: fn(&Path) -> Result<(Info, Weights)>,
    /// What the adapter does to the tensors of a model.
    pub changes: fn(&Adapter, &Transformer) -> Result<Vec<TensorChange>>,
    /// The files of an adapter in this layout.
    pub write: fn(&Export) -> Result<Files>,
}

/// An adapter to be written, known to fit its model.
#[derive(Debug)]
pub struct Export<'a> {
    /// The adapter as it was read.
    pub adapter: &'a Adapter,
    /// What it does to each tensor.
    pub changes: Vec<TensorChange>,
    /// Its base model.
    pub base: &'a Pretrained,
    /// Where other programs find the base model: a folder, or a name on the Hugging Face hub.
    pub base_name: String,
}

/// Every layout; the first whose file is there is taken.
pub const FORMATS: &[Format] = &[native::FORMAT, sparta::FORMAT, peft::FORMAT];

/// Name of the program's own layout.
pub const OWN: &str = native::FORMAT.name;

/// The layout of this name.
///
/// # Errors
/// No such layout; the message lists those there are.
pub fn find(name: &str) -> Result<&'static Format> {
    FORMATS.iter().find(|format| format.name == name).ok_or_else(|| {
        let names: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
        Error::input(format!("there is no adapter format \"{name}\"; there are {}", names.join(", ")))
    })
}

/// Other things that people take for adapters, and what to do about them.
const NEARLY: &[(&str, &str)] = &[
    (
        "sparse_deltas.pt",
        "a SpaRTA adapter in PyTorch's own format; convert_pt_to_safetensors of the package peft_sparta rewrites it as \
         sparse_deltas.safetensors",
    ),
    ("checkpoints", "a training run without a saved adapter; let it finish, or continue it with --resume"),
];

/// The layout of the adapter in a folder, if there is one.
pub fn in_folder(folder: &Path) -> Option<&'static Format> {
    FORMATS.iter().find(|format| storage::exists(folder.join(format.marker)))
}

/// The layout of a folder.
pub(super) fn recognise(folder: &Path) -> Result<&'static Format> {
    if let Some(format) = in_folder(folder) {
        return Ok(format);
    }
    if let Some((_, what)) = NEARLY.iter().find(|(name, _)| storage::exists(folder.join(name))) {
        return Err(Error::input(format!("{}: there is no {INFO}, this is {what}", folder.display())));
    }
    let others: Vec<_> = FORMATS.iter().map(|format| format.marker).filter(|marker| *marker != INFO).collect();
    Err(Error::input(format!(
        "{}: not an adapter folder, there is no {INFO}; give the --out folder of a training run (or another program's \
         adapter, with {})",
        folder.display(),
        others.join(" or ")
    )))
}

/// Writes an adapter in another layout.
///
/// # Errors
/// An adapter that the layout cannot hold.
pub fn export(adapter: &Adapter, base: &Pretrained, format: &Format, base_name: String) -> Result<Files> {
    adapter.check_base(base)?;
    let changes = adapter.changes(&base.transformer)?.into_iter().filter(|tensor| !tensor.change.is_empty()).collect();
    (format.write)(&Export { adapter, changes, base, base_name })
}

/// Kinds of changes that an adapter is made of.
impl Export<'_> {
    fn sparse(&self) -> bool {
        self.changes.iter().any(|tensor| matches!(tensor.change, Change::Sparse { .. }))
    }

    fn low_rank(&self) -> bool {
        self.changes.iter().any(|tensor| matches!(tensor.change, Change::LowRank { .. }))
    }

    /// Layers that compute in a method's own way.
    fn hooked(&self) -> impl Iterator<Item = (&TensorChange, &HookChange)> {
        self.changes.iter().filter_map(|tensor| match &tensor.change {
            Change::Hook(change) => Some((tensor, change)),
            _ => None,
        })
    }
}

/// Reads and parses a JSON file of an adapter folder.
fn read_json(path: &Path) -> Result<Value> {
    let text = storage::read_to_string(path).map_err(|e| Error::file("read", path, e))?;
    serde_json::from_str(&text).map_err(|e| Error::input(format!("{}: not valid JSON: {e}", path.display())))
}

/// Reads the safetensors file of an adapter folder.
fn read_weights(path: &Path) -> Result<Weights> {
    let bytes = storage::read(path).map_err(|e| Error::file("read", path, e))?;
    Weights::from_bytes(&path.display().to_string(), bytes)
}

/// The description of another program's adapter.
fn foreign(method: &str, base: BaseModel, dtype: String, trained: usize, settings: Value) -> Info {
    Info {
        format: NAME.into(),
        version: VERSION,
        method: method.into(),
        base_model: base,
        trained_parameters: trained,
        dtype,
        settings,
        dense: Vec::new(),
        classify: None,
        quantized: None,
    }
}

/// The classes that `id2label` of a configuration names, in order; `None` for a model that is not a classifier.
fn classes(config: &Value) -> Option<Classify> {
    let labels = config.get("id2label")?.as_object()?;
    let names: Option<Vec<String>> =
        (0..labels.len()).map(|id| Some(labels.get(&id.to_string())?.as_str()?.to_owned())).collect();
    Some(Classify { classes: names?, template: None })
}

/// Sorts flat indices and their values; refuses an index that appears twice or is out of range.
fn sorted(name: &str, pairs: Vec<(i64, f32)>, len: usize) -> Result<Change> {
    let mut pairs = pairs;
    if let Some((index, _)) = pairs.iter().find(|(index, _)| !(0..len.min(u32::MAX as usize) as i64).contains(index)) {
        return Err(Error::input(format!("{name}: index {index} is out of range, the tensor has {len} numbers")));
    }
    pairs.sort_by_key(|(index, _)| *index);
    if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::input(format!("{name}: index {} appears twice", pair[0].0)));
    }
    let (indices, values) = pairs.into_iter().map(|(index, value)| (index as u32, value)).unzip();
    Ok(Change::Sparse { indices, values })
}

/// Integers of any width, as other programs store indices.
fn integers(weights: &Weights, name: &str) -> Result<Vec<i64>> {
    use safetensors::Dtype;
    let bytes = weights.bytes(name)?;
    let dtype = weights.dtype(name).expect("a tensor with bytes has a type");
    match dtype {
        Dtype::I64 => Ok(bytes.as_chunks::<8>().0.iter().map(|word| i64::from_le_bytes(*word)).collect()),
        Dtype::I32 => Ok(bytes.as_chunks::<4>().0.iter().map(|word| i32::from_le_bytes(*word).into()).collect()),
        Dtype::U32 => Ok(bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word).into()).collect()),
        Dtype::I16 => Ok(bytes.as_chunks::<2>().0.iter().map(|word| i16::from_le_bytes(*word).into()).collect()),
        other => Err(Error::input(format!("the tensor {name} is stored as {other:?}, indices are integers"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_indices_are_sorted_and_checked() {
        let pairs = vec![(5, 1.0), (2, 2.0), (9, 3.0)];
        let expected = Change::Sparse { indices: vec![2, 5, 9], values: vec![2.0, 1.0, 3.0] };
        assert_eq!(sorted("t", pairs.clone(), 10).expect("good"), expected);
        assert!(sorted("t", pairs, 9).expect_err("too far").to_string().contains("index 9 is out of range"));
        assert!(sorted("t", vec![(-1, 1.0)], 9).is_err());
        let twice = sorted("t", vec![(3, 1.0), (1, 0.0), (3, 2.0)], 9).expect_err("twice").to_string();
        assert!(twice.contains("t: index 3 appears twice"), "{twice}");
    }

    #[test]
    fn classes_are_in_the_order_of_their_numbers() {
        let config = serde_json::json!({"id2label": {"1": "bad", "0": "good"}});
        assert_eq!(classes(&config).expect("two").classes, ["good", "bad"]);
        assert_eq!(classes(&serde_json::json!({"id2label": {"1": "a", "2": "b"}})), None);
        assert_eq!(classes(&serde_json::json!({})), None);
    }
}
