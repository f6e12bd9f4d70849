//! What a trained method amounts to, whatever method or program made it: one change for each tensor.

use std::{any::Any, sync::Arc};

use burn::tensor::Tensor;

use super::{
    hook::{Hook, LayerChange, Leaf},
    mask::drawn::check_indices,
};
use crate::{device::ComputeDevice, model::Parameter};

/// A change of one tensor, in the layout of the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
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
    /// The layer computes in a method's own way. It can be merged where that amounts to a weight.
    Hook(HookChange),
}

/// A layer that computes in a method's own way.
#[derive(Clone, Debug)]
pub struct HookChange {
    /// Name of the method.
    pub method: &'static str,
    /// How it computes.
    pub hook: Arc<dyn LayerChange>,
    /// The matrices that the hook reads, as far as the adapter holds them.
    pub leaves: Vec<Leaf>,
}

impl PartialEq for HookChange {
    /// Hooks hold settings only, which their debug form shows.
    fn eq(&self, other: &Self) -> bool {
        let key = |change: &Self| (change.method, format!("{:?}", change.hook));
        key(self) == key(other) && self.leaves == other.leaves
    }
}

impl HookChange {
    /// How it computes, where that is the layer `L` of a method.
    pub(super) fn layer<L: Hook>(&self) -> Option<&L> {
        let hook: &dyn Any = &*self.hook;
        hook.downcast_ref()
    }

    /// The matrices on the device.
    pub(super) fn upload(&self, device: &ComputeDevice) -> Vec<Tensor<2>> {
        self.leaves.iter().map(|(_, dims, values)| device.floats(values.clone(), *dims)).collect()
    }
}

/// The change of a named tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorChange {
    /// Name of the parameter in the checkpoint.
    pub name: String,
    /// Shape of the parameter in the checkpoint.
    pub shape: Vec<usize>,
    /// What happens to it.
    pub change: Change,
}

impl Change {
    /// How many numbers describe the change.
    pub fn len(&self) -> usize {
        match self {
            Self::Sparse { values, .. } => values.len(),
            Self::LowRank { a, b, .. } => a.len() + b.len(),
            Self::Replace(values) => values.len(),
            Self::Hook(change) => change.leaves.iter().map(|(.., values)| values.len()).sum(),
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

/// What is wrong with a change of a tensor that has the right shape.
pub(super) fn misfit(TensorChange { name, shape, change }: &TensorChange, parameter: &Parameter) -> Option<String> {
    match change {
        Change::Sparse { indices, values } if indices.len() != values.len() => {
            Some(format!("{name} has {} deltas for {} indices", values.len(), indices.len()))
        }
        Change::Sparse { indices, .. } => {
            check_indices(name, indices, parameter.len()).err().map(|error| error.to_string())
        }
        Change::LowRank { rank, a, b, .. } => {
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
        Change::Replace(values) => (values.len() != parameter.len())
            .then(|| format!("{name} has shape {shape:?} but {} values in the adapter", values.len())),
        Change::Hook(HookChange { method, hook, leaves }) => {
            let filled = leaves.iter().all(|(_, [rows, cols], values)| rows * cols == values.len());
            let fits = filled && layer_dims(parameter).is_some_and(|dims| hook.fits(dims, leaves));
            (!fits).then(|| {
                format!("{name} has shape {shape:?}, which the matrices of {method} in the adapter do not fit")
            })
        }
    }
}
