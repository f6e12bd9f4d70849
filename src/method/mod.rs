//! What is trained: one file a method, one line in [`METHODS`].
//!
//! A method decides which tensors it touches, hooks an [`Adaptation`](crate::model::Adaptation) into each for the
//! forward and backward pass, takes the optimizer step, and says what is saved. The model does not know the methods.

pub mod adapter;
pub mod delta;
pub mod formats;
pub mod mask;
pub mod sides;
pub mod stack;
pub mod targets;

mod dense;
mod full;
mod head;
mod lora;
mod plan;
mod sparta;
mod with_head;

use std::pin::Pin;

use burn::tensor::{Gradients, Int, Tensor};
use safetensors::Dtype;
use serde_json::Value;

use crate::{
    Error, Result,
    config::MethodConfig,
    device::ComputeDevice,
    kernel::{self, AdamW, Matrix},
    model::{Parameter, Transformer, weights::Weights},
};
use delta::TensorDelta;

pub use crate::event::TrainedTensor;
pub use dense::dense_gradients;
pub use sparta::Sparta;

/// A vector of numbers on the device with a name, to be saved.
pub type NamedTensor = (String, Tensor<1>);
/// Mask indices on the device, as [`ComputeDevice::indices`] uploads them, with the name that files give them.
pub type NamedIndices = (String, Tensor<1, Int>);

/// Something that may have to read from the device on its way, which a browser must not wait for.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// What a method puts into an adapter folder.
#[derive(Debug, Default)]
pub struct Saved {
    /// Settings from which the adapter can be applied again (JSON).
    pub settings: Value,
    /// Trained values, cast to the adapter's storage type.
    pub values: Vec<NamedTensor>,
    /// Mask indices to store explicitly, if asked for.
    pub indices: Vec<NamedIndices>,
    /// Tensors that replace the model's as a whole, such as a classification head; their values are among `values`.
    pub dense: Vec<(String, Vec<usize>)>,
}

/// Everything a resumed run needs of a method.
#[derive(Debug, Default)]
pub struct State {
    /// Trained values and moments.
    pub values: Vec<NamedTensor>,
    /// Masks that cannot be drawn again from the seed.
    pub indices: Vec<NamedIndices>,
}

/// A way of training a model. All tensors live on the thread that made them.
pub trait Method {
    /// Every trained tensor and how much of it is trained.
    fn trained(&self) -> Vec<TrainedTensor>;

    /// Number of trained numbers in all tensors.
    fn trained_parameters(&self) -> usize {
        self.trained().iter().map(|tensor| tensor.trained).sum()
    }

    /// Hooks fresh tracked leaves into the model, before a forward pass that is to be differentiated. `pass` numbers the
    /// passes of a run: whatever is random in a pass is a function of it and the seed.
    fn attach(&mut self, transformer: &mut Transformer, pass: u64);

    /// Makes the model compute what it would compute in pass `pass`, but without leaves and untracked. A graph that is
    /// recorded and then dropped keeps its activations until the next backward pass, so a pass that will not be
    /// differentiated must not record one.
    fn rehearse(&mut self, transformer: &mut Transformer, pass: u64) {
        let _ = pass;
        self.detach(transformer);
    }

    /// Takes the gradients of the leaves out of one backward pass and adds them to those collected so far.
    fn collect(&mut self, gradients: &mut Gradients);

    /// Takes the leaves out again; the model then computes with the current trained values, untracked.
    fn detach(&mut self, transformer: &mut Transformer);

    /// Each collected gradient as a vector.
    fn gradients(&self) -> Vec<Tensor<1>>;

    /// One optimizer step with the collected gradients, which are then gone. `squared_norm` `[1]` is that of all
    /// gradients together, before clipping.
    fn step(&mut self, transformer: &mut Transformer, settings: &AdamW, squared_norm: &Tensor<1>);

    /// Everything a resumed run needs: trained values and moments.
    fn state(&self, transformer: &Transformer) -> State;

    /// Puts a state back.
    ///
    /// # Errors
    /// A tensor that is missing or has another length.
    fn restore(&mut self, transformer: &mut Transformer, state: &Weights) -> Result<()>;

    /// What goes into the adapter folder.
    fn save(&self, transformer: &Transformer) -> Saved;
}

/// One optimizer step of a method: the gradients' global norm, then the step with it. Returns the squared norm `[1]`
/// before clipping.
///
/// # Errors
/// No gradient was collected.
pub fn update(method: &mut dyn Method, transformer: &mut Transformer, settings: &AdamW) -> Result<Tensor<1>> {
    let gradients = method.gradients();
    if gradients.is_empty() {
        return Err(Error::Run("no trained number received a gradient".into()));
    }
    let norm = kernel::squared_norm(gradients);
    method.step(transformer, settings, &norm);
    Ok(norm)
}

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
    /// An adapter to go on from.
    pub initial: Vec<TensorDelta>,
    /// Gradients on the first training batches, for masks that are chosen by them.
    pub calibrate: Option<&'a dyn Calibrate>,
}

impl<'a> Setup<'a> {
    /// A fresh start, without data to look at.
    pub fn new(config: &'a MethodConfig, device: &'a ComputeDevice, seed: u64) -> Self {
        Self { config, device, seed, initial: Vec::new(), calibrate: None }
    }

    /// Takes the changes of the adapter to go on from that this method can train further.
    pub(super) fn take_initial(&mut self, wanted: impl Fn(&delta::Delta) -> bool) -> Vec<TensorDelta> {
        let (taken, left) = std::mem::take(&mut self.initial).into_iter().partition(|change| wanted(&change.delta));
        self.initial = left;
        taken
    }
}

/// How a tensor is trained, for what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Some of its numbers.
    Sparse,
    /// Two matrices of this rank beside it.
    LowRank(usize),
    /// All of it.
    Whole,
}

/// A tensor that a method would train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Which one, and how many numbers.
    pub tensor: TrainedTensor,
    /// How.
    pub means: Means,
}

impl Planned {
    /// Bytes of all of the tensor in f32.
    pub fn whole_bytes(&self) -> u64 {
        4 * self.tensor.shape.iter().product::<usize>() as u64
    }
}

/// What a method would train of a model, by its settings or by the adapter to go on from. Reads shapes only, never a
/// value.
type Plan = fn(&MethodConfig, &[&TensorDelta], &Transformer) -> Result<Vec<Planned>>;
/// Starts a method on a model.
type Start = for<'a> fn(&'a mut Setup<'_>, &'a mut Transformer) -> Pending<'a, Box<dyn Method>>;
/// What a saved adapter does to each tensor of its model.
type Deltas = fn(&adapter::Adapter) -> Result<Vec<TensorDelta>>;

/// One training method.
pub struct Entry {
    /// Name for `--method`.
    pub name: &'static str,
    /// One line for `--help` and the window.
    pub about: &'static str,
    /// Learning rate where none is given, found by the sweep recorded in the README.
    pub learning_rate: f64,
    /// Says what it would train.
    pub plan: Plan,
    /// Starts it on a model.
    pub start: Start,
    /// Reads its adapter.
    pub deltas: Deltas,
}

/// Every training method.
pub const METHODS: &[Entry] = &[sparta::ENTRY, lora::ENTRY, full::ENTRY, head::ENTRY];

/// The method of this name.
///
/// # Errors
/// No such method; the message lists those there are.
pub fn find(name: &str) -> Result<&'static Entry> {
    METHODS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<_> = METHODS.iter().map(|entry| entry.name).collect();
        Error::input(format!("there is no method \"{name}\"; there are {}", names.join(", ")))
    })
}

/// What a method would train of a model, with the head of a classifier, from shapes alone: `transformer` may be an
/// [outline](Transformer::outline). `initial` are the changes of the adapter to go on from.
///
/// # Errors
/// Settings and model that do not fit together.
pub fn plan(
    entry: &Entry,
    config: &MethodConfig,
    initial: &[TensorDelta],
    transformer: &Transformer,
) -> Result<Vec<Planned>> {
    let head = transformer.head.classifier_names();
    let initial: Vec<_> = initial.iter().filter(|change| !head.contains(&change.name)).collect();
    let body = (entry.plan)(config, &initial, transformer)?;
    Ok(with_head::planned(body, transformer))
}

/// Starts a method on a model; the head of a classifier is always trained as a whole beside it.
///
/// # Errors
/// Settings and model that do not fit together, or a device that failed.
pub async fn start(entry: &Entry, setup: &mut Setup<'_>, transformer: &mut Transformer) -> Result<Box<dyn Method>> {
    with_head::take_initial(setup, transformer)?;
    let initial: Vec<&TensorDelta> = setup.initial.iter().collect();
    let by_gradient = entry.name == sparta::ENTRY.name && initial.is_empty() && setup.config.mask == mask::GRADIENT;
    check_whole(&(entry.plan)(setup.config, &initial, transformer)?, by_gradient, setup.device)?;
    let body = (entry.start)(setup, transformer).await?;
    if let Some(delta) = setup.initial.first() {
        return Err(Error::input(format!(
            "the adapter to go on from changes {}, which --method {} does not train",
            delta.name, entry.name
        )));
    }
    Ok(with_head::wrap(body, transformer))
}

/// Refuses to train a tensor as a whole that the device cannot bind in f32, though it may in fewer bits or in blocks of rows.
/// To choose numbers `by_gradient`, the gradient of the tensor is wanted as a whole too.
fn check_whole(planned: &[Planned], by_gradient: bool, device: &ComputeDevice) -> Result<()> {
    let limit = device.facts.max_binding_bytes.unwrap_or(u64::MAX);
    let whole = |planned: &&Planned| planned.means == Means::Whole || by_gradient;
    match planned.iter().filter(whole).find(|planned| planned.whole_bytes() > limit) {
        None => Ok(()),
        Some(planned) => Err(Error::Device(format!(
            "{}: {} it needs {} MB, but {} can bind only {} MB at once; leave it out with --frozen-modules, {}use --device cpu \
             or another device",
            planned.tensor.name,
            if by_gradient { "to be chosen from by its gradient" } else { "to be trained as a whole" },
            planned.whole_bytes() / 1_000_000,
            device.facts.name,
            limit / 1_000_000,
            if by_gradient { "take another --mask, " } else { "or " }
        ))),
    }
}

/// The parameter that an adapter's tensor belongs to.
///
/// # Errors
/// No such parameter, or one of another shape.
fn parameter_for<'a>(transformer: &'a mut Transformer, name: &str, shape: &[usize]) -> Result<&'a mut Parameter> {
    let parameter = transformer
        .parameter_mut(name)
        .ok_or_else(|| Error::input(format!("the model has no parameter {name}, which the adapter changes")))?;
    if parameter.dims != shape {
        return Err(Error::input(format!(
            "{name} has shape {shape:?} in the adapter but {:?} in the model",
            parameter.dims
        )));
    }
    Ok(parameter)
}

/// Puts the values of an adapter's tensor in the place of the model's.
///
/// # Errors
/// No such parameter, or one of another shape.
fn replace(
    transformer: &mut Transformer,
    name: &str,
    shape: &[usize],
    values: Vec<f32>,
    device: &ComputeDevice,
) -> Result<()> {
    let parameter = parameter_for(transformer, name, shape)?;
    let dims = parameter.matrix_dims();
    parameter.update(|_| Matrix::Dense(device.floats(values, dims)));
    Ok(())
}

/// A stored vector of exactly `len` f32 values, for [`Method::restore`].
fn stored(state: &Weights, name: &str, len: usize) -> Result<Vec<f32>> {
    let values = state.floats(name)?;
    if values.len() != len {
        return Err(Error::input(format!(
            "the checkpoint's {name} has {} values but this run needs {len}; it belongs to another run",
            values.len()
        )));
    }
    Ok(values)
}

/// Adds a gradient, if there is one, to those collected so far.
fn accumulate<const D: usize>(sum: &mut Option<Tensor<D>>, new: Option<Tensor<D>>) {
    *sum = match (sum.take(), new) {
        (Some(sum), Some(new)) => Some(sum + new),
        (sum, new) => sum.or(new),
    };
}

/// Short name of a storage type, as adapters write it.
pub fn dtype_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F16 => "f16",
        Dtype::BF16 => "bf16",
        _ => "f32",
    }
}
