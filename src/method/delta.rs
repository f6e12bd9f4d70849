//! What an adapter does to a model, whatever method or program made it: one change for each tensor.

use std::collections::HashSet;

use serde::Deserialize;

use super::adapter::{Adapter, TensorShape};
use crate::{
    Error, Result,
    model::{Parameter, Transformer},
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
pub fn layer_dims(parameter: &Parameter) -> Option<[usize; 2]> {
    match parameter.dims[..] {
        [inputs, outputs] if parameter.transposed() => Some([outputs, inputs]),
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

/// Checks the tensors that an adapter lists against a model: each is there, once, and has the shape.
///
/// # Errors
/// All mismatches at once, by tensor name.
pub(super) fn check_listed<'a>(
    adapter: &Adapter,
    listed: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    transformer: &Transformer,
) -> Result<()> {
    let parameters = transformer.parameters();
    let (mut seen, mut problems) = (HashSet::new(), Vec::new());
    for (name, shape) in listed {
        if !seen.insert(name) {
            problems.push(format!("{name} is listed twice"));
            continue;
        }
        match parameters.iter().find(|parameter| parameter.name == name) {
            None => problems.push(format!("the model has no parameter {name}")),
            Some(parameter) if parameter.dims != shape => problems
                .push(format!("{name} has shape {shape:?} in the adapter but {:?} in the model", parameter.dims)),
            Some(_) => {}
        }
    }
    all_of(adapter, &problems)
}

/// Checks the changes of one adapter against a model: tensors as [`check_listed`] does, and that every change has the
/// values and places that its tensor needs.
///
/// # Errors
/// All mismatches at once, by tensor name.
pub(super) fn check_fits(adapter: &Adapter, deltas: &[TensorDelta], transformer: &Transformer) -> Result<()> {
    check_listed(adapter, deltas.iter().map(|tensor| (&tensor.name[..], &tensor.shape[..])), transformer)?;
    let parameters = transformer.parameters();
    let problem = |tensor: &TensorDelta| {
        let parameter = parameters.iter().find(|parameter| parameter.name == tensor.name)?;
        misfit(tensor, parameter)
    };
    all_of(adapter, &deltas.iter().filter_map(problem).collect::<Vec<_>>())
}

/// What is wrong with a change of a tensor that has the right shape.
fn misfit(TensorDelta { name, shape, delta }: &TensorDelta, parameter: &Parameter) -> Option<String> {
    match delta {
        Delta::Sparse { indices, values } if indices.len() != values.len() => {
            Some(format!("{name} has {} deltas for {} indices", values.len(), indices.len()))
        }
        Delta::Sparse { indices, .. } => {
            check_indices(name, indices, parameter.len()).err().map(|error| error.to_string())
        }
        Delta::LowRank { rank, a, b, .. } => {
            let wanted = layer_dims(parameter).map(|[outputs, inputs]| (rank * inputs, outputs * rank));
            (wanted != Some((a.len(), b.len()))).then(|| {
                format!(
                    "{name} has shape {shape:?}, for which matrices of {} and {} values and rank {rank} are not a \
                     low-rank change",
                    a.len(),
                    b.len()
                )
            })
        }
        Delta::Replace(values) => (values.len() != parameter.len())
            .then(|| format!("{name} has shape {shape:?} but {} values in the adapter", values.len())),
    }
}

/// One sentence about all problems.
fn all_of(adapter: &Adapter, problems: &[String]) -> Result<()> {
    match problems {
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
