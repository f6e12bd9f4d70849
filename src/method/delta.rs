//! What an adapter does to a model, whatever method or program made it: one change for each tensor.

use serde::Deserialize;

use super::adapter::{Adapter, TensorShape};
use crate::{
    Error, Result,
    model::{Parameter, Transformer, save::transposed},
};

/// A change of one tensor, in the layout of the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// `weight[i] += value` for sorted, distinct flat indices.
    Sparse {
        /// Flat indices `[N]`.
        indices: Vec<u32>,
        /// What is added there `[N]`.
        values: Vec<f32>,
    },
    /// `weight += scale * B A` for a weight `[outputs, inputs]` (its transpose for one that is stored `[inputs, outputs]`).
    LowRank {
        /// `R`.
        rank: usize,
        /// `[R, inputs]`.
        a: Vec<f32>,
        /// `[outputs, R]`.
        b: Vec<f32>,
        /// Factor on the product: `alpha / R`, or `alpha / sqrt(R)` for rsLoRA.
        scale: f32,
    },
    /// The tensor is replaced by these values.
    Replace(Vec<f32>),
}

/// The change of a named tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorDelta {
    /// Name of the parameter in the checkpoint.
    pub name: String,
    /// Shape of the parameter in the checkpoint.
    pub shape: Vec<usize>,
    /// What happens to it.
    pub delta: Delta,
}

impl Delta {
    /// How many numbers describe the change.
    pub fn len(&self) -> usize {
        match self {
            Self::Sparse { values, .. } => values.len(),
            Self::LowRank { a, b, .. } => a.len() + b.len(),
            Self::Replace(values) => values.len(),
        }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `[outputs, inputs]` of a matrix, however it is stored; `None` for a vector.
pub(super) fn layer_dims(parameter: &Parameter) -> Option<[usize; 2]> {
    match parameter.dims[..] {
        [inputs, outputs] if transposed(parameter) => Some([outputs, inputs]),
        [outputs, inputs] => Some([outputs, inputs]),
        _ => None,
    }
}

/// Checks that mask indices are below `len`, in ascending order and distinct.
///
/// # Errors
/// The first index that is not.
pub(super) fn check_indices(name: &str, indices: &[u32], len: usize) -> Result<()> {
    if let Some(index) = indices.iter().find(|&&index| index as usize >= len) {
        return Err(Error::input(format!("{name}: mask index {index} is out of range, the tensor has {len} numbers")));
    }
    if let Some(pair) = indices.windows(2).find(|pair| pair[0] >= pair[1]) {
        let what = if pair[0] == pair[1] { "appears twice" } else { "is not in ascending order" };
        return Err(Error::input(format!("{name}: mask index {} {what}", pair[1])));
    }
    Ok(())
}

/// Most mismatches that one message lists.
const MOST_SHOWN: usize = 20;

/// Checks the changes of one adapter against a model: every tensor is there, once, and has the shape and the number of
/// values that the change needs.
///
/// # Errors
/// All mismatches at once, by tensor name.
pub(super) fn check_fits(adapter: &Adapter, deltas: &[TensorDelta], transformer: &Transformer) -> Result<()> {
    let parameters = transformer.parameters();
    let mut problems = Vec::new();
    for (at, TensorDelta { name, shape, delta }) in deltas.iter().enumerate() {
        if deltas[..at].iter().any(|other| other.name == *name) {
            problems.push(format!("{name} is listed twice"));
            continue;
        }
        let Some(parameter) = parameters.iter().find(|parameter| parameter.name == *name) else {
            problems.push(format!("the model has no parameter {name}"));
            continue;
        };
        if parameter.dims != *shape {
            problems.push(format!("{name} has shape {shape:?} in the adapter but {:?} in the model", parameter.dims));
            continue;
        }
        match delta {
            Delta::Sparse { indices, values } if indices.len() != values.len() => {
                problems.push(format!("{name} has {} deltas for {} indices", values.len(), indices.len()));
            }
            Delta::Sparse { indices, .. } => {
                problems.extend(check_indices(name, indices, parameter.len()).err().map(|e| e.to_string()));
            }
            Delta::LowRank { rank, a, b, .. } => {
                let layer = layer_dims(parameter);
                if layer.map(|[outputs, inputs]| (rank * inputs, outputs * rank)) != Some((a.len(), b.len())) {
                    problems.push(format!(
                        "{name} has shape {shape:?}, for which matrices of {} and {} values and rank {rank} are not a \
                         low-rank change",
                        a.len(),
                        b.len()
                    ));
                }
            }
            Delta::Replace(values) if values.len() != parameter.len() => {
                problems.push(format!("{name} has shape {shape:?} but {} values in the adapter", values.len()));
            }
            Delta::Replace(_) => {}
        }
    }
    match &problems[..] {
        [] => Ok(()),
        [problem] => Err(adapter.error(problem)),
        _ => {
            let shown: String = problems.iter().take(MOST_SHOWN).map(|problem| format!("\n  {problem}")).collect();
            let more = problems.len().saturating_sub(MOST_SHOWN);
            let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
            Err(adapter.error(format!("it does not fit the model ({} tensors):{shown}{more}", problems.len())))
        }
    }
}

/// The changes of an adapter that the low-rank method wrote: `NAME.lora_a` `[R * inputs]` and `NAME.lora_b`
/// `[outputs * R]` for each tensor.
///
/// # Errors
/// Settings that are not those of the method, or a matrix that is missing or has no whole number of rows.
#[allow(dead_code, reason = "named by the entry of the low-rank method")]
pub(super) fn lora_deltas(adapter: &Adapter) -> Result<Vec<TensorDelta>> {
    #[derive(Deserialize)]
    struct Settings {
        rank: usize,
        scale: f32,
        tensors: Vec<TensorShape>,
    }
    let settings: Settings = adapter.settings()?;
    if settings.rank == 0 || !settings.scale.is_finite() {
        return Err(adapter.error(format!(
            "adapter.json: rank {} and scale {} do not describe a low-rank adapter",
            settings.rank, settings.scale
        )));
    }
    let matrix = |name: String| adapter.weights.floats(&name).map_err(|e| adapter.error(e));
    settings
        .tensors
        .into_iter()
        .map(|TensorShape { name, shape }| {
            let (a, b) = (matrix(format!("{name}.lora_a"))?, matrix(format!("{name}.lora_b"))?);
            Ok(TensorDelta { name, shape, delta: Delta::LowRank { rank: settings.rank, a, b, scale: settings.scale } })
        })
        .collect()
}
