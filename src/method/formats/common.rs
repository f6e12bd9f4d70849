//! What several layouts need: files, indices, descriptions.

use std::path::Path;

use serde_json::Value;

use crate::{
    Error, Result,
    method::{
        adapter::{BaseModel, Classify, Export, Info, NAME, VERSION},
        change::{Change, HookChange, TensorChange},
    },
    model::weights::Weights,
    storage,
};

/// Kinds of changes that an adapter is made of.
impl Export<'_> {
    pub(super) fn sparse(&self) -> bool {
        self.changes.iter().any(|tensor| matches!(tensor.change, Change::Sparse { .. }))
    }

    pub(super) fn low_rank(&self) -> bool {
        self.changes.iter().any(|tensor| matches!(tensor.change, Change::LowRank { .. }))
    }

    /// Layers that compute in a method's own way.
    pub(super) fn hooked(&self) -> impl Iterator<Item = (&TensorChange, &HookChange)> {
        self.changes.iter().filter_map(|tensor| match &tensor.change {
            Change::Hook(change) => Some((tensor, change)),
            _ => None,
        })
    }
}

/// Reads and parses a JSON file of an adapter folder.
pub(super) fn read_json(path: &Path) -> Result<Value> {
    let text = storage::read_to_string(path).map_err(|e| Error::file("read", path, e))?;
    serde_json::from_str(&text).map_err(|e| Error::input(format!("{}: not valid JSON: {e}", path.display())))
}

/// Reads the safetensors file of an adapter folder.
pub(super) fn read_weights(path: &Path) -> Result<Weights> {
    let bytes = storage::read(path).map_err(|e| Error::file("read", path, e))?;
    Weights::from_bytes(&path.display().to_string(), bytes)
}

/// The description of another program's adapter.
pub(super) fn foreign(method: &str, base: BaseModel, dtype: String, trained: usize, settings: Value) -> Info {
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
pub(super) fn classes(config: &Value) -> Option<Classify> {
    let labels = config.get("id2label")?.as_object()?;
    let names: Option<Vec<String>> =
        (0..labels.len()).map(|id| Some(labels.get(&id.to_string())?.as_str()?.to_owned())).collect();
    Some(Classify { classes: names?, template: None })
}

/// Sorts flat indices and their values; refuses an index that appears twice or is out of range.
pub(super) fn sorted(name: &str, pairs: Vec<(i64, f32)>, len: usize) -> Result<Change> {
    let mut pairs = pairs;
    if let Some((index, _)) = pairs.iter().find(|(index, _)| !(0..len.min(u32::MAX as usize) as i64).contains(index)) {
        return Err(Error::input(format!("{name}: index {index} is out of range, the tensor has {len} entries")));
    }
    pairs.sort_by_key(|(index, _)| *index);
    if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::input(format!("{name}: index {} appears twice", pair[0].0)));
    }
    let (indices, values) = pairs.into_iter().map(|(index, value)| (index as u32, value)).unzip();
    Ok(Change::Sparse { indices, values })
}

/// Integers of any width, as other programs store indices.
pub(super) fn integers(weights: &Weights, name: &str) -> Result<Vec<i64>> {
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
