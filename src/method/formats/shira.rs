//! PEFT's SHiRA (Bhardwaj et al. 2024): `shira_weight` `[N]` and `shira_indices` `[2, N]` (rows, then columns) of each
//! adapted module, with `N = r * (inputs + outputs)`.

use serde_json::Value;

use super::{
    common,
    peft_parts::{self as peft, Config, Part},
};
use crate::{
    Result,
    method::{
        adapter::{Adapter, Export},
        change::{Change, TensorChange},
    },
    model::{Role, Transformer},
};

const WEIGHT: &str = ".shira_weight";
/// Ending of the tensors with the places.
pub(super) const INDICES: &str = ".shira_indices";

/// Whether a tensor of the file is one of a pair.
pub(super) fn is_part(name: &str) -> bool {
    name.ends_with(WEIGHT) || name.ends_with(INDICES)
}

pub(super) fn changes(adapter: &Adapter, transformer: &Transformer) -> Result<Vec<TensorChange>> {
    let parameters = transformer.parameters();
    let mut unknown = Vec::new();
    let mut changes = Vec::new();
    for module in peft::modules(adapter, WEIGHT)? {
        let name = format!("{module}.weight");
        let Some(parameter) = parameters.iter().find(|parameter| parameter.name == name) else {
            unknown.push(name);
            continue;
        };
        let [rows, columns] = parameter.dims[..] else {
            return Err(adapter.error(format!("{name} is no matrix of the model")));
        };
        let values = peft::part(adapter, &format!("{module}{WEIGHT}"))?;
        let places = peft::integers(adapter, &format!("{module}{INDICES}"))?;
        if peft::dims(adapter, &format!("{module}{INDICES}")) != [2, values.len()] {
            return Err(adapter.error(format!(
                "{module}{INDICES} has shape {:?} but {} values need {:?}",
                peft::dims(adapter, &format!("{module}{INDICES}")),
                values.len(),
                [2, values.len()]
            )));
        }
        let (at_rows, at_columns) = places.split_at(values.len());
        let inside = |(row, column): (&i64, &i64)| {
            ((0..rows as i64).contains(row) && (0..columns as i64).contains(column))
                .then(|| row * columns as i64 + column)
        };
        let Some(flat) = at_rows.iter().zip(at_columns).map(inside).collect::<Option<Vec<_>>>() else {
            return Err(adapter.error(format!(
                "{module}{INDICES} names places outside of the shape {:?} of the model",
                parameter.dims
            )));
        };
        let pairs = flat.into_iter().zip(values).collect();
        let change = common::sorted(&name, pairs, parameter.len()).map_err(|e| adapter.error(e))?;
        changes.push(TensorChange { name, shape: parameter.dims.clone(), change });
    }
    if !unknown.is_empty() {
        return Err(adapter.error(format!("the model has no parameter {}", unknown.join(", "))));
    }
    Ok(changes)
}

pub(super) fn write(export: &Export) -> Result<(Vec<Part>, Config)> {
    let parameters = export.base.transformer.parameters();
    let mut layers = Vec::new();
    for tensor in &export.changes {
        let Change::Sparse { indices, values } = &tensor.change else { continue };
        let parameter = parameters.iter().find(|p| p.name == tensor.name && p.role == Role::Linear);
        let (Some(parameter), [rows, columns]) = (parameter, &tensor.shape[..]) else {
            return Err(peft::no_layer(export, tensor, "SHiRA"));
        };
        if parameter.transposed() {
            return Err(peft::no_layer(export, tensor, "SHiRA"));
        }
        layers.push((&tensor.name, *rows, *columns, indices, values));
    }
    // One rank for all of them, large enough for the fullest.
    let rank = layers.iter().map(|(_, rows, columns, indices, _)| indices.len().div_ceil(rows + columns)).max();
    let rank = rank.unwrap_or(1).max(1);
    let mut parts = Vec::new();
    for (name, rows, columns, indices, values) in layers {
        let count = rank * (rows + columns);
        if count > rows * columns {
            return Err(export.adapter.error(format!(
                "{name} has {} entries, fewer than the {count} that SHiRA's rank {rank} asks of every layer; a higher \
                 sparsity, or --target-modules of like sizes, makes an adapter that SHiRA can hold",
                rows * columns
            )));
        }
        let (indices, values) = filled(indices, values, count);
        let columns = columns as u32;
        let at_rows = indices.iter().map(|index| index / columns);
        let bytes = at_rows.chain(indices.iter().map(|index| index % columns)).flat_map(|at| (at as i32).to_le_bytes());
        let module = peft::module(name);
        parts.push(peft::floats(format!("{module}{WEIGHT}"), vec![count], &values)?);
        parts.push((format!("{module}{INDICES}"), safetensors::Dtype::I32, vec![2, count], bytes.collect()));
    }
    let config = [
        ("fan_in_fan_out", false.into()),
        ("init_weights", true.into()),
        ("mask_type", "random".into()),
        ("peft_type", "SHIRA".into()),
        ("r", rank.into()),
        // The places are in the file; a seed would only be used to draw others.
        ("random_seed", export.adapter.info.settings.get("random_seed").cloned().unwrap_or(Value::Null)),
    ];
    Ok((parts, config.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()))
}

/// The first unused places, with value 0, until there are `count`; ascending.
fn filled(indices: &[u32], values: &[f32], count: usize) -> (Vec<u32>, Vec<f32>) {
    let mut missing = count - indices.len();
    let (mut places, mut all) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut next = 0;
    for (&index, &value) in indices.iter().zip(values) {
        while missing > 0 && next < index {
            places.push(next);
            all.push(0.0);
            (next, missing) = (next + 1, missing - 1);
        }
        places.push(index);
        all.push(value);
        next = index + 1;
    }
    places.extend((0..missing as u32).map(|more| next + more));
    all.resize(count, 0.0);
    (places, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_places_fill_up_with_zeros() {
        assert_eq!(filled(&[1, 4], &[7.0, 8.0], 2), (vec![1, 4], vec![7.0, 8.0]));
        assert_eq!(filled(&[1, 4], &[7.0, 8.0], 4), (vec![0, 1, 2, 4], vec![0.0, 7.0, 0.0, 8.0]));
        assert_eq!(filled(&[0, 1], &[7.0, 8.0], 4), (vec![0, 1, 2, 3], vec![7.0, 8.0, 0.0, 0.0]));
        assert_eq!(filled(&[2], &[7.0], 5), (vec![0, 1, 2, 3, 4], vec![0.0, 0.0, 7.0, 0.0, 0.0]));
    }
}
