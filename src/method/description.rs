//! What a method says of itself: its tensors, the hooks that compute with them, and what else is its own.
//!
//! Everything else (leaves, gradients, moments, steps, checkpoints, storage) is the same for all methods and stands once, in
//! [`tensors`](super::tensors) and [`training`](super::training).

use std::{fmt::Debug, pin::Pin};

use burn::tensor::{Int, Tensor};
use serde_json::{Value, json};

use super::{
    change::TensorChange,
    hook::{HookedParameter, Pass},
    tensors::Tensors,
    trainable::{MethodTensor, Place},
};
use crate::{
    Result,
    config::MethodConfig,
    device::ComputeDevice,
    event::TrainedTensor,
    kernel,
    model::{Transformer, weights::Weights},
};

/// Something that may have to read from the device on its way, which a browser must not wait for.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// A look at the data before training.
pub trait Calibrate {
    /// Absolute gradients of named parameters, in the order of the names, each in the layout of the checkpoint.
    ///
    /// # Errors
    /// There are no rows, or the device failed.
    fn gradients<'a>(&'a self, transformer: &'a mut Transformer, names: &'a [String]) -> Pending<'a, Vec<Vec<f32>>>;
}

/// What a method is started with.
pub struct Setup<'a> {
    /// Its settings.
    pub config: &'a MethodConfig,
    /// Where the model is.
    pub device: &'a ComputeDevice,
    /// Seed of masks and fresh values.
    pub seed: u64,
    /// Changes of the adapter to start from. A method takes out those that it trains further.
    pub initial: Vec<TensorChange>,
    /// Gradients on the first training batches, for masks that are chosen by them.
    pub calibrate: Option<&'a dyn Calibrate>,
    /// Tensors of the checkpoint to resume from.
    pub state: Option<&'a Weights>,
    /// Whether only sizes count: masks then have the right length, but any entries, and nothing is read from the device.
    pub sizes_only: bool,
}

impl<'a> Setup<'a> {
    /// A fresh start, without data to look at.
    pub fn new(config: &'a MethodConfig, device: &'a ComputeDevice, seed: u64) -> Self {
        Self { config, device, seed, initial: Vec::new(), calibrate: None, state: None, sizes_only: false }
    }

    /// Takes the changes of the adapter to start from that this method can train further.
    pub(super) fn take_initial(&mut self, wanted: impl Fn(&TensorChange) -> bool) -> Vec<TensorChange> {
        let (taken, left) = std::mem::take(&mut self.initial).into_iter().partition(wanted);
        self.initial = left;
        taken
    }
}

/// A method on one model, by its settings or by the adapter to start from. Made from shapes alone, never from a value.
#[derive(Debug)]
pub struct Description {
    /// The tensors that it trains, and those that its hooks read besides.
    pub tensors: Vec<MethodTensor>,
    /// The parameters of the model that it computes with in its own way.
    pub hooks: Vec<HookedParameter>,
    /// What else is its own.
    pub method: Box<dyn Method>,
}

/// What is a method's own beside its tensors and hooks. Most of it has a default.
pub trait Method: Debug {
    /// What its adapter folder records, from which [`MethodEntry::changes`](super::MethodEntry) reads it again. `tensors` lists
    /// what is trained.
    fn settings(&self, tensors: &[TrainedTensor]) -> Value {
        json!({ "tensors": tensors })
    }

    /// Whether mask indices go into the adapter although a seed would give them.
    fn explicit_indices(&self) -> bool {
        false
    }

    /// Chooses what can only be chosen by looking at the model or the data: masks that come
    /// [later](super::trainable::Mask::Later), decompositions of weights. What a checkpoint in `setup` has need not be chosen
    /// again.
    ///
    /// # Errors
    /// The device failed, or there is nothing to choose by.
    fn prepare<'a>(
        &'a self,
        _tensors: &'a mut [MethodTensor],
        _transformer: &'a mut Transformer,
        _setup: &'a Setup<'_>,
    ) -> Pending<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// What is added to the loss of each optimizer step, `[1]`, from the present tensors.
    fn penalty(&self, _tensors: &Tensors, _step: Pass) -> Option<Tensor<1>> {
        None
    }

    /// How many forward passes a batch takes.
    fn passes(&self) -> usize {
        1
    }

    /// Sum of the losses `[1]` of some predictions: the logits `[N, V]` of each pass, and the right classes `[N]`, negative where
    /// a prediction does not count.
    fn loss(&self, logits: Vec<Tensor<2>>, targets: Tensor<1, Int>) -> Tensor<1> {
        let first = logits.into_iter().next().expect("a batch takes at least one pass");
        kernel::cross_entropy(first, targets).sum()
    }

    /// What happens after optimizer step `step`, counted from 1: masks that move, projections.
    ///
    /// # Errors
    /// The device failed.
    fn after_step<'a>(
        &'a mut self,
        _step: u64,
        _tensors: &'a mut Tensors,
        _transformer: &'a mut Transformer,
    ) -> Pending<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A method without anything of its own: tensors that are trained as a whole.
#[derive(Debug)]
pub(super) struct Plain;

impl Method for Plain {}

impl Description {
    /// The method that trains these parameters as a whole.
    pub(super) fn of_whole(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let tensors = names.into_iter().map(|name| MethodTensor::whole(name.as_ref())).collect();
        Self { tensors, hooks: Vec::new(), method: Box::new(Plain) }
    }

    /// What is trained, a parameter of the model a line: one's own matrices count to the parameter whose hook reads them, or,
    /// where several do, stand under their own name.
    pub(super) fn trained(&self, transformer: &Transformer) -> Vec<TrainedTensor> {
        let parameters = transformer.parameters();
        let mut all: Vec<TrainedTensor> = Vec::new();
        for (at, tensor) in self.tensors.iter().enumerate() {
            let mut readers = self.hooks.iter().filter(|hook| hook.reads.contains(&at));
            let owner = match (&tensor.place, readers.next(), readers.next()) {
                (Place::Own { .. }, Some(only), None) => &only.parameter,
                _ => &tensor.name,
            };
            let parameter = parameters.iter().find(|parameter| parameter.name == *owner);
            let trained = tensor.trained(parameter);
            if trained == 0 {
                continue;
            }
            let shape = match (&tensor.place, parameter) {
                (_, Some(parameter)) => parameter.dims.clone(),
                (Place::Own { dims, .. }, None) => dims.to_vec(),
                (_, None) => Vec::new(),
            };
            match all.iter_mut().find(|known| known.name == *owner) {
                Some(known) => known.trained += trained,
                None => all.push(TrainedTensor { name: owner.clone(), shape, trained }),
            }
        }
        all
    }

    /// Whether the method trains or hooks the parameter.
    pub(super) fn touches(&self, name: &str) -> bool {
        let in_tensors = |tensor: &MethodTensor| !matches!(tensor.place, Place::Own { .. }) && tensor.name == name;
        self.tensors.iter().any(in_tensors) || self.hooks.iter().any(|hook| hook.parameter == name)
    }
}
