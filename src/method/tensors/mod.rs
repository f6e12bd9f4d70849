//! The tensors of a method in training: leaves, gradients, moments, steps, and what is stored of them. One file a place
//! where a tensor can live; the same for all methods.

mod entries;
mod kept;
mod own;
mod slot;
mod whole;

use std::sync::Arc;

use burn::tensor::{Gradients, Int, Tensor};

use super::{
    hook::{Hook, HookedParameter, Pass},
    mask::drawn::check_indices,
    trainable::{Mask, MethodTensor, Place, Start},
};
use crate::{
    Error, Result,
    device::ComputeDevice,
    kernel::{AdamW, Matrix},
    model::{Adaptation, LinearCall, Parameter, Transformer, weights::Weights},
    rng::Stream,
};
use entries::Entries;
use kept::{Kept, Stepping, Stored};
use own::Own;
use whole::Whole;

pub(super) use whole::TrackedWhole;

/// All tensors of a method, and the hooks that read them.
#[derive(Debug)]
pub struct Tensors {
    kept: Vec<(String, Box<dyn Kept>)>,
    hooks: Vec<(usize, Arc<dyn Hook>, Vec<usize>)>,
}

/// A method's hook with the tensors of one pass.
#[derive(Debug)]
struct Hooked {
    hook: Arc<dyn Hook>,
    leaves: Vec<Tensor<2>>,
    pass: Pass,
}

impl Adaptation for Hooked {
    fn linear(&self, layer: LinearCall<'_>) -> Tensor<2> {
        self.hook.linear(layer, &self.leaves, self.pass)
    }

    fn embed(&self, ids: Tensor<1, Int>, weight: &Matrix) -> Tensor<2> {
        self.hook.embed(ids, weight, &self.leaves, self.pass)
    }

    fn small(&self, weight: &Matrix) -> Tensor<2> {
        self.hook.small(weight, &self.leaves, self.pass)
    }
}

/// Puts a hook with its tensors into a parameter, for evaluation.
pub(super) fn hook_for_evaluation(parameter: &mut Parameter, hook: Arc<dyn Hook>, leaves: Vec<Tensor<2>>) {
    parameter.adaptation = Some(Box::new(Hooked { hook, leaves, pass: Pass::Evaluation }));
}

/// A stored vector of exactly `len` f32 values.
fn stored_floats(state: &Weights, name: &str, len: usize) -> Result<Vec<f32>> {
    let values = state.floats(name)?;
    if values.len() != len {
        return Err(Error::input(format!(
            "the checkpoint's {name} has {} values but this run needs {len}; it belongs to another run",
            values.len()
        )));
    }
    Ok(values)
}

/// Name of a tensor's moments in checkpoints.
fn moments_name(name: &str) -> String {
    format!("{name}.moments")
}

/// Name of the indices of chosen entries in files.
pub(super) fn indices_name(name: &str) -> String {
    format!("{name}.indices")
}

/// Name of the deltas of chosen entries in files.
pub(super) fn delta_name(name: &str) -> String {
    format!("{name}.delta")
}

/// Where tensors come from.
struct Maker<'a> {
    device: &'a ComputeDevice,
    seed: u64,
    state: Option<&'a Weights>,
    sizes_only: bool,
}

impl Maker<'_> {
    /// Moments `[2, len]`: those of the checkpoint, or zeros, in a buffer of their own.
    fn moments(&self, name: &str, len: usize) -> Result<Tensor<2>> {
        Ok(match self.state {
            Some(state) => self.device.floats(stored_floats(state, &moments_name(name), 2 * len)?, [2, len]),
            None => Tensor::zeros([2, len], &self.device.handle),
        })
    }

    fn own(&self, name: &str, start: Start, dims: [usize; 2], trained: bool, transformer: &Transformer) -> Result<Own> {
        let len = dims[0] * dims[1];
        let value = match (self.state.filter(|_| trained), start) {
            (Some(state), _) => self.device.floats(stored_floats(state, name, len)?, dims),
            (None, Start::Values(values)) => self.device.floats(values, dims),
            (None, Start::Uniform { stream, bound }) => {
                let mut stream = Stream::new(self.seed, &stream);
                let values = (0..len).map(|_| ((2.0 * stream.unit() - 1.0) * bound) as f32).collect();
                self.device.floats(values, dims)
            }
            (None, Start::OfWeight { parameter, compute }) => {
                let parameters = transformer.parameters();
                let found = parameters.into_iter().find(|known| known.name == parameter);
                compute(found.expect("methods start from parameters of the model"), self.device)
            }
            (None, Start::Zeros | Start::Unchanged) => Tensor::zeros(dims, &self.device.handle),
        };
        let moments = trained.then(|| self.moments(name, len)).transpose()?;
        Ok(Own::new(value, moments))
    }

    fn whole(&self, name: &str, start: Start, place: usize, transformer: &mut Transformer) -> Result<Whole> {
        let parameter = transformer.parameters_mut().swap_remove(place);
        let (len, dims) = (parameter.len(), parameter.matrix_dims());
        let values = match (self.state, start) {
            (Some(state), _) => Some(stored_floats(state, name, len)?),
            (None, Start::Values(values)) => Some(values),
            (None, _) => None,
        };
        match values {
            Some(values) => parameter.update(|_| Matrix::Dense(self.device.floats(values, dims))),
            None => parameter.make_dense(),
        }
        Ok(Whole::new(place, self.moments(name, len)?))
    }

    /// Chosen entries, whose parameter holds its pretrained values; it holds the changed ones afterwards.
    fn entries(
        &self,
        name: &str,
        start: Start,
        mask: Mask,
        place: usize,
        transformer: &mut Transformer,
    ) -> Result<Entries> {
        let count = mask.len();
        let len = transformer.parameters()[place].len();
        let drawn = matches!(mask, Mask::Drawn(..));
        let indices = match (self.state, mask) {
            // A mask chosen by gradients may come out a little different on another device: the first one counts.
            (Some(state), Mask::Given(_) | Mask::Later(_)) => {
                let indices = state.indices(&indices_name(name))?;
                if indices.len() != count {
                    return Err(Error::input(format!("the checkpoint's mask of {name} belongs to another run")));
                }
                indices
            }
            _ if self.sizes_only => (0..count as u32).collect(),
            (_, Mask::Drawn(settings, seed)) => settings.indices(seed),
            (_, Mask::Given(indices)) => indices,
            (_, Mask::Later(_)) => return Err(Error::Run(format!("the mask of {name} was not chosen"))),
        };
        check_indices(name, &indices, len)?;
        let start = match (self.state, start) {
            (Some(state), _) => Some(stored_floats(state, &delta_name(name), count)?),
            (None, Start::Values(values)) => Some(values),
            (None, _) => None,
        };
        let changed = start.is_some();
        // A buffer of its own for each: deltas and moments are written in place.
        let delta = match start {
            Some(values) => self.device.floats(values, [count]),
            None => Tensor::zeros([count], &self.device.handle),
        };
        let trained = (delta, self.moments(name, count)?);
        let parameter = transformer.parameters()[place];
        let entries = Entries::new(place, parameter, &indices, drawn, trained, self.device);
        if changed {
            entries.write(&mut transformer.parameters_mut(), true);
        }
        Ok(entries)
    }
}

impl Tensors {
    /// Makes the tensors as their descriptions, or the checkpoint `state`, say. Chosen entries find the pretrained values in
    /// the model and leave the changed ones there; nothing is read back from the device.
    ///
    /// # Errors
    /// A checkpoint that does not fit.
    pub(super) fn new(
        tensors: Vec<MethodTensor>,
        hooks: Vec<HookedParameter>,
        transformer: &mut Transformer,
        device: &ComputeDevice,
        seed: u64,
        (state, sizes_only): (Option<&Weights>, bool),
    ) -> Result<Self> {
        let maker = Maker { device, seed, state, sizes_only };
        let place = |transformer: &Transformer, name: &str| {
            transformer.place(name).expect("methods train and hook parameters of the model")
        };
        let mut kept: Vec<(String, Box<dyn Kept>)> = Vec::new();
        for tensor in tensors {
            let MethodTensor { name, place: lives, start } = tensor;
            let one: Box<dyn Kept> = match lives {
                Place::Own { dims, trained } => Box::new(maker.own(&name, start, dims, trained, transformer)?),
                Place::Whole => Box::new(maker.whole(&name, start, place(transformer, &name), transformer)?),
                Place::Entries(mask) => {
                    Box::new(maker.entries(&name, start, mask, place(transformer, &name), transformer)?)
                }
            };
            kept.push((name, one));
        }
        let hooks = hooks.into_iter().map(|hooked| (place(transformer, &hooked.parameter), hooked.hook, hooked.reads));
        let made = Self { kept, hooks: hooks.collect() };
        made.hook(transformer, Pass::Evaluation);
        Ok(made)
    }

    /// Makes fresh tracked leaves.
    pub(super) fn track(&mut self, transformer: &Transformer) {
        let parameters = transformer.parameters();
        self.kept.iter_mut().for_each(|(_, tensor)| tensor.track(&parameters));
    }

    /// Lets go of the leaves, which are second handles of tensors that a step writes in place.
    pub(super) fn release(&mut self) {
        self.kept.iter_mut().for_each(|(_, tensor)| tensor.release());
    }

    /// Has the model compute pass `pass` with the leaves or, where they were released, the values.
    pub(super) fn hook(&self, transformer: &mut Transformer, pass: Pass) {
        let mut parameters = transformer.parameters_mut();
        self.kept.iter().for_each(|(_, tensor)| tensor.hook(&mut parameters));
        for (place, hook, reads) in &self.hooks {
            let leaves = reads.iter().filter_map(|&at| self.kept[at].1.matrix()).collect();
            parameters[*place].adaptation = Some(Box::new(Hooked { hook: hook.clone(), leaves, pass }));
        }
    }

    /// Adds up the gradients of the leaves.
    pub(super) fn collect(&mut self, gradients: &mut Gradients) {
        self.kept.iter_mut().for_each(|(_, tensor)| tensor.collect(gradients));
    }

    /// Each collected gradient as a vector.
    pub fn gradients(&self) -> Vec<Tensor<1>> {
        self.kept.iter().filter_map(|(_, tensor)| tensor.gradient()).collect()
    }

    /// Collected gradients by the names of their tensors.
    pub fn gradients_by_name(&self) -> Vec<(&str, Tensor<1>)> {
        self.kept.iter().filter_map(|(name, tensor)| Some((&name[..], tensor.gradient()?))).collect()
    }

    /// The tensor of this name as hooks read it, `[rows, columns]`; tracked while leaves are there.
    pub fn matrix(&self, name: &str) -> Option<Tensor<2>> {
        self.kept.iter().find(|(known, _)| known == name)?.1.matrix()
    }

    /// One optimizer step with the collected gradients, which are then gone.
    pub(super) fn step(&mut self, transformer: &mut Transformer, settings: &AdamW, squared_norm: &Tensor<1>) {
        self.release();
        let mut parameters = transformer.parameters_mut();
        // Steps in place need the only handle of a tensor, and hooks hold another.
        parameters.iter_mut().for_each(|parameter| parameter.adaptation = None);
        let stepping = Stepping { settings, squared_norm };
        for (_, tensor) in &mut self.kept {
            tensor.step(&mut parameters, &stepping);
        }
        drop(parameters);
        self.hook(transformer, Pass::Evaluation);
    }

    /// What is stored, by the names that files give it: values, moments if asked for, and masks, all or those that no seed
    /// gives.
    pub(super) fn stored(&self, transformer: &Transformer, moments_too: bool, all_masks: bool) -> State {
        let parameters = transformer.parameters();
        let mut state = State::default();
        for (name, tensor) in &self.kept {
            let Some(Stored { suffix, value, moments, indices }) = tensor.stored(&parameters) else { continue };
            state.values.push((format!("{name}{suffix}"), value));
            state.values.extend(moments_too.then(|| (moments_name(name), moments)));
            let stored = indices.filter(|(_, drawn)| all_masks || !drawn);
            state.indices.extend(stored.map(|(indices, _)| (indices_name(name), indices)));
        }
        state
    }

    /// Puts the pretrained values of chosen entries back, bit for bit, or the changed ones in again.
    pub(super) fn set_applied(&self, transformer: &mut Transformer, applied: bool) {
        let mut parameters = transformer.parameters_mut();
        self.kept.iter().for_each(|(_, tensor)| tensor.set_applied(&mut parameters, applied));
    }
}

/// Everything of tensors that is stored: values, and masks that cannot be drawn again from a seed.
#[derive(Debug, Default)]
pub struct State {
    /// Vectors on the device by name.
    pub values: Vec<(String, Tensor<1>)>,
    /// Mask indices on the device, as [`ComputeDevice::indices`] uploads them, by the name that files give them.
    pub indices: Vec<(String, Tensor<1, Int>)>,
}
