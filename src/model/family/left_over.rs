//! Tensors of a checkpoint that the model has no use for. Each must be what its name promises: a copy that differs from what
//! it repeats, or a constant that is another, means that the checkpoint holds another model than `config.json` describes.

use safetensors::Dtype;

use super::spec::{Family, LeftOver};
use crate::{
    Result,
    model::{
        architecture::{Architecture, Positions, Rope, RopeScaling},
        rope::inverse_frequencies,
        weights::Weights,
    },
};

/// What checkpoints of any family may have left over.
const EVERYWHERE: &[(&str, LeftOver)] =
    &[("rotary_emb.inv_freq", LeftOver::Frequencies), ("embeddings.position_ids", LeftOver::PositionIds)];

/// What the unused tensor of this name is; `None` if the family knows nothing of it.
pub fn kind(family: &Family, name: &str) -> Option<LeftOver> {
    let means = |(part, kind): &&(&str, LeftOver)| match kind {
        LeftOver::OtherHead => name.starts_with(part),
        _ => name.ends_with(part),
    };
    EVERYWHERE.iter().chain(family.left_over).find(means).map(|(_, kind)| *kind)
}

/// Why the tensor `name` of `weights`, which the model does not use, does not belong to it; `None` if it does.
pub fn problem(
    family: &Family,
    a: &Architecture,
    classifying: bool,
    weights: &Weights,
    name: &str,
) -> Option<&'static str> {
    let head = !a.names.head.is_empty() && name.strip_suffix(".weight") == Some(a.names.head);
    // A classifier has no use for the head of the language model, nor for that of another number of classes.
    let other_classes = name.strip_prefix(a.names.classifier).is_some_and(|rest| rest.starts_with('.'));
    if classifying && (head || other_classes) {
        return None;
    }
    if head && a.tied_head {
        return (!repeats_the_table(a, weights, name).unwrap_or(false)).then_some(
            "differs from the embedding table, which the head is by config.json; set tie_word_embeddings to false to use it",
        );
    }
    let (fits, expected) = match kind(family, name) {
        None => return Some("config.json has no place for it"),
        Some(LeftOver::OtherHead) => return None,
        Some(LeftOver::CausalMask) => (is_causal_mask(weights, name), "is not a mask of later positions"),
        Some(LeftOver::HiddenScore) => (
            weights.floats(name).map(|values| values.iter().all(|x| *x <= -1e3)),
            "is not the score of hidden positions",
        ),
        Some(LeftOver::Frequencies) => {
            (are_frequencies(a, weights, name), "has other rotary frequencies than config.json describes")
        }
        Some(LeftOver::PositionIds) => (counts_up(weights, name), "does not count the positions from 0"),
    };
    (!fits.unwrap_or(false)).then_some(expected)
}

fn repeats_the_table(a: &Architecture, weights: &Weights, name: &str) -> Result<bool> {
    let table = format!("{}{}.weight", a.names.prefix, a.names.embedding);
    let Some(table) = weights.alias(&table) else { return Ok(false) };
    if weights.dims(table) != weights.dims(name) {
        return Ok(false);
    }
    if weights.dtype(table) == weights.dtype(name) {
        return Ok(weights.bytes(table)? == weights.bytes(name)?);
    }
    Ok(weights.floats(table)? == weights.floats(name)?)
}

/// Of a `[1, 1, n, n]` mask of any type: 0 exactly where a column lies behind its row.
fn is_causal_mask(weights: &Weights, name: &str) -> Result<bool> {
    let (Some(&[.., rows, columns]), bytes) = (weights.dims(name), weights.bytes(name)?) else { return Ok(false) };
    if rows == 0 || rows != columns || !bytes.len().is_multiple_of(rows * columns) {
        return Ok(false);
    }
    let width = bytes.len() / (rows * columns);
    let kept = bytes.chunks_exact(width.max(1)).map(|value| value.iter().any(|byte| *byte != 0));
    Ok(kept.enumerate().all(|(at, kept)| kept == (at % columns <= at / columns)))
}

/// Whether they are those of one of the model's rotary embeddings, as it is or without its scaling: older checkpoints applied
/// that afterwards. They may have been stored in 16 bits.
fn are_frequencies(a: &Architecture, weights: &Weights, name: &str) -> Result<bool> {
    let Positions::Rotary(ropes) = &a.positions else { return Ok(false) };
    let found = weights.floats(name)?;
    let close = |expected: Vec<f64>| {
        let near = |(found, expected): (&f32, f64)| (f64::from(*found) - expected).abs() <= 1e-6 + 1e-2 * expected;
        found.len() == expected.len() && found.iter().zip(expected).all(near)
    };
    Ok(ropes.iter().any(|rope| {
        let unscaled = Rope { scaling: RopeScaling::Default, ..rope.clone() };
        [rope, &unscaled].into_iter().any(|rope| close(inverse_frequencies(rope, a.head_dim)))
    }))
}

fn counts_up(weights: &Weights, name: &str) -> Result<bool> {
    let bytes = weights.bytes(name)?;
    let numbers: Vec<u64> = match weights.dtype(name) {
        Some(Dtype::I64 | Dtype::U64) => {
            bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
        }
        Some(Dtype::I32 | Dtype::U32) => {
            bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word).into()).collect()
        }
        _ => weights.floats(name)?.into_iter().map(|value| value as u64).collect(),
    };
    Ok((0..).zip(numbers).all(|(at, number): (u64, u64)| at == number))
}
