//! Adapters on a loaded model: merged into its weights with a weight each, and unmerged again bit for bit.
//!
//! Where several adapters touch one tensor their changes add up, each relative to the original value:
//! `w = w0 + sum of weight * change`. Nothing is written before all of them are known to fit.

use std::{collections::BTreeMap, ops::Range};

use burn::tensor::{Int, Tensor};

use super::{
    adapter::Adapter,
    change::{Change, layer_dims},
    tensors::hook_for_evaluation,
};
use crate::{
    Error, Result,
    device::ComputeDevice,
    kernel::{self, Matrix},
    model::{Parameter, Pretrained, Transformer},
};

/// How many entries two sparse adapters both change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Place of the one in the list that was merged.
    pub first: usize,
    /// Place of the other.
    pub second: usize,
    /// Entries that both change, over all tensors.
    pub shared: usize,
}

/// What a tensor held before.
#[derive(Debug)]
enum Original {
    /// Values `[N]` at flat indices `[N]`.
    Entries(Box<(Tensor<1, Int>, Tensor<1>)>),
    /// The whole tensor.
    Whole(Box<Matrix>),
    /// The tensor was not changed: its layer computes in another way.
    Hooked,
}

/// Adapters that are merged into a model, and what it takes to unmerge them.
#[derive(Debug)]
pub struct AdapterStack {
    originals: Vec<(String, Original)>,
    /// Shared entries of every pair of adapters that has any.
    pub overlaps: Vec<Overlap>,
}

impl AdapterStack {
    /// Merges `adapters` with their weights into `base`, in place, and keeps what [`Self::unmerge`] needs.
    ///
    /// # Errors
    /// An adapter of another model, values that do not fit, or a weight that is not a number. The model is then as it
    /// was.
    pub fn merge(adapters: &[(&Adapter, f32)], base: &mut Pretrained, device: &ComputeDevice) -> Result<Self> {
        let (changes, overlaps) = plan(adapters, base)?;
        let mut originals = Vec::with_capacity(changes.len());
        for (name, changes) in changes {
            let original = merge_tensor(&name, changes, &mut base.transformer, device);
            originals.push((name, original));
        }
        Ok(Self { originals, overlaps })
    }

    /// Puts the original weights back, bit for bit. Stacks are unmerged in the opposite order in which they were merged.
    pub fn unmerge(self, transformer: &mut Transformer) {
        for (name, original) in self.originals {
            // A model keeps its parameters.
            let Some(parameter) = transformer.parameter_mut(&name) else { continue };
            match original {
                Original::Entries(entries) => parameter.update(|weight| weight.write(entries.0, entries.1)),
                Original::Whole(original) => parameter.update(|_| *original),
                Original::Hooked => parameter.adaptation = None,
            }
        }
    }
}

impl Adapter {
    /// Applies the adapter to its base model's weights, in place. The weights are untouched if anything is wrong.
    ///
    /// # Errors
    /// Another base model, or values that do not fit.
    pub fn apply(&self, base: &mut Pretrained, device: &ComputeDevice) -> Result<()> {
        merge_for_good(&[(self, 1.0)], base, device).map(|_| ())
    }
}

/// As [`AdapterStack::merge`], but the original weights are not kept.
///
/// # Errors
/// As [`AdapterStack::merge`].
pub fn merge_for_good(
    adapters: &[(&Adapter, f32)],
    base: &mut Pretrained,
    device: &ComputeDevice,
) -> Result<Vec<Overlap>> {
    let (changes, overlaps) = plan(adapters, base)?;
    for (name, changes) in changes {
        // Dropped tensor by tensor: a second copy of the model never exists.
        drop(merge_tensor(&name, changes, &mut base.transformer, device));
    }
    Ok(overlaps)
}

/// The changes of one tensor: place of the adapter, its weight, the change.
type Changes = Vec<(usize, f32, Change)>;

/// Everything that will change, by tensor name, once all of it is known to fit.
fn plan(adapters: &[(&Adapter, f32)], base: &Pretrained) -> Result<(BTreeMap<String, Changes>, Vec<Overlap>)> {
    let mut changes: BTreeMap<String, Changes> = BTreeMap::new();
    for (place, (adapter, weight)) in adapters.iter().enumerate() {
        if !weight.is_finite() {
            return Err(Error::input(format!("{}: the weight {weight} is not a number", adapter.folder.display())));
        }
        adapter.check_base(base)?;
        for tensor in adapter.changes(&base.transformer)? {
            if !tensor.change.is_empty() {
                changes.entry(tensor.name).or_default().push((place, *weight, tensor.change));
            }
        }
    }
    for (name, changes) in &changes {
        let hooked = |change: &&Change| matches!(change, Change::Hook(change) if change.hook.as_weight().is_none());
        let hooks = changes.iter().map(|(.., change)| change).filter(hooked).count();
        if hooks > 0 && !matches!(changes[..], [(_, 1.0, _)]) {
            return Err(Error::input(format!(
                "{name}: one of the adapters changes how this layer computes, which does not add up with other adapters and \
                 has no weight but 1; use that adapter alone"
            )));
        }
    }
    let mut shared: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for changes in changes.values() {
        for (at, (second, _, delta)) in changes.iter().enumerate() {
            for (first, _, earlier) in &changes[..at] {
                if let (Change::Sparse { indices: a, .. }, Change::Sparse { indices: b, .. }) = (earlier, delta) {
                    *shared.entry((*first, *second)).or_default() += common(a, b);
                }
            }
        }
    }
    let overlaps = shared.into_iter().filter(|(_, shared)| *shared > 0);
    let overlaps = overlaps.map(|((first, second), shared)| Overlap { first, second, shared }).collect();
    Ok((changes, overlaps))
}

/// How many indices are in both of two ascending lists.
fn common(a: &[u32], b: &[u32]) -> usize {
    let (mut i, mut j, mut found) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        found += usize::from(a[i] == b[j]);
        let (x, y) = (a[i], b[j]);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    found
}

/// The sum of sparse changes, each with its weight, as ascending indices and values.
fn sum(changes: Vec<(f32, Vec<u32>, Vec<f32>)>) -> (Vec<u32>, Vec<f32>) {
    let mut total: BTreeMap<u32, f32> = BTreeMap::new();
    if let [(weight, _, _)] = &changes[..] {
        let weight = *weight;
        let (_, indices, values) = changes.into_iter().next().expect("there is one");
        return (indices, values.into_iter().map(|value| weight * value).collect());
    }
    for (weight, indices, values) in changes {
        for (index, value) in indices.into_iter().zip(values) {
            *total.entry(index).or_default() += weight * value;
        }
    }
    total.into_iter().unzip()
}

/// Writes the changes of one tensor and returns what it held.
fn merge_tensor(name: &str, changes: Changes, transformer: &mut Transformer, device: &ComputeDevice) -> Original {
    let parameter = transformer.parameter_mut(name).expect("changes are known to fit");
    let (mut sparse, mut dense) = (Vec::new(), Vec::new());
    for (_, weight, change) in changes {
        match change {
            Change::Sparse { indices, values } => sparse.push((weight, indices, values)),
            Change::Hook(change) if change.hook.as_weight().is_none() => {
                let leaves = change.upload(device);
                hook_for_evaluation(parameter, change.hook, leaves);
                return Original::Hooked;
            }
            other => dense.push((weight, other)),
        }
    }
    let (indices, values) = sum(sparse);
    if dense.is_empty() && !indices.is_empty() && !parameter.value().is_quantized() {
        let (indices, values) = (device.indices(&indices), device.floats(values, [indices.len()]));
        let base = parameter.value().at(indices.clone());
        parameter.update(|weight| weight.write(indices.clone(), base.clone() + values));
        return Original::Entries(Box::new((indices, base)));
    }
    // What changes as a whole, and what is quantized, is kept in f32 while the adapter is on: in blocks of its rows where the
    // device cannot bind all of it.
    let original = parameter.value().clone();
    let dims = parameter.matrix_dims();
    let value = Matrix::by_rows(dims, None, device.facts.max_binding_bytes, |rows| {
        let [first, end] = [rows.start, rows.end].map(|row| row * dims[1]);
        let part = original.part(rows.clone());
        let mut value = merged_rows(&part, &dense, rows, parameter, device);
        let inside =
            indices.partition_point(|at| (*at as usize) < first)..indices.partition_point(|at| (*at as usize) < end);
        if !inside.is_empty() {
            let places: Vec<u32> = indices[inside.clone()].iter().map(|at| at - first as u32).collect();
            let (places, changes) =
                (device.indices(&places), device.floats(values[inside.clone()].to_vec(), [inside.len()]));
            // `value` is a new tensor, so the original is not written through it.
            let base = value.clone().reshape([end - first]).select(0, places.clone());
            value = kernel::scatter_write(value, places, base + changes);
        }
        Matrix::Dense(value)
    });
    parameter.update(|_| value);
    Original::Whole(Box::new(original))
}

/// `[outputs, inputs]` from a weight as it is stored, or the other way round.
fn layer_weight(parameter: &Parameter, weight: Tensor<2>) -> Tensor<2> {
    if parameter.transposed() { weight.transpose() } else { weight }
}

/// `original`, some `rows` of a tensor, with low-rank changes, replacements and computed weights.
fn merged_rows(
    original: &Tensor<2>,
    changes: &[(f32, Change)],
    rows: Range<usize>,
    parameter: &Parameter,
    device: &ComputeDevice,
) -> Tensor<2> {
    let [_, cols] = parameter.matrix_dims();
    let upload =
        |values: &[f32]| device.floats(values[rows.start * cols..rows.end * cols].to_vec(), [rows.len(), cols]);
    let whole = |change: &Change| match change {
        Change::Replace(values) => Some(upload(values)),
        Change::Hook(change) => {
            let weight = layer_weight(parameter, parameter.value().dense());
            let merged = change.hook.as_weight()?.merged(weight, &change.upload(device));
            Some(layer_weight(parameter, merged).slice_dim(0, rows.clone()))
        }
        _ => None,
    };
    let is_whole = |change: &Change| matches!(change, Change::Replace(_) | Change::Hook(_));
    let replacements = changes.iter().filter(|(_, change)| is_whole(change)).count();
    let mut value = None;
    let mut rest = Vec::new();
    for (weight, change) in changes {
        // One whole replacement is exact; a difference added back would be rounded.
        let alone = is_whole(change) && replacements == 1 && *weight == 1.0;
        if alone { value = whole(change) } else { rest.push((*weight, change)) }
    }
    let mut value = value.unwrap_or_else(|| original.clone());
    for (weight, change) in rest {
        let change = match change {
            Change::LowRank { rank, a, b, scale } => {
                let [outputs, inputs] = layer_dims(parameter).expect("low-rank changes are those of matrices");
                let (a, b) = (device.floats(a.clone(), [*rank, inputs]), device.floats(b.clone(), [outputs, *rank]));
                let scale = weight * scale;
                if parameter.transposed() {
                    b.matmul(a.slice_dim(1, rows.clone())).mul_scalar(scale).transpose()
                } else {
                    b.slice_dim(0, rows.clone()).matmul(a).mul_scalar(scale)
                }
            }
            Change::Sparse { .. } => unreachable!("sparse changes are written by index"),
            other => (whole(other).expect("it is a new weight") - original.clone()).mul_scalar(weight),
        };
        value = value + change;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_sparse_changes_add_where_they_overlap() {
        let parts = vec![(0.5, vec![1, 4, 9], vec![2.0, 4.0, 6.0]), (2.0, vec![0, 4], vec![1.0, 10.0])];
        assert_eq!(common(&parts[0].1, &parts[1].1), 1);
        assert_eq!(sum(parts), (vec![0, 1, 4, 9], vec![2.0, 1.0, 22.0, 3.0]));
        assert_eq!(sum(vec![(3.0, vec![7], vec![2.0])]), (vec![7], vec![6.0]));
        assert_eq!(common(&[], &[1]), 0);
    }
}
