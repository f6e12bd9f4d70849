//! A method in training on one model: what the trainer, checkpoints and adapters do with any method.

use burn::tensor::{Gradients, Int, Tensor};
use serde_json::Value;

use super::{
    change::{Change, TensorChange},
    description::{Description, Method, Setup},
    entry::MethodEntry,
    hook::Pass,
    tensors::{State, Tensors},
    trainable::{MethodTensor, Place, Start},
    whole::bindable,
};
use crate::{
    Error, Result,
    device::ComputeDevice,
    event::TrainedTensor,
    kernel::{self, AdamW},
    model::Transformer,
};

/// What a method puts into an adapter folder.
#[derive(Debug, Default)]
pub struct Saved {
    /// Settings from which the adapter can be applied again (JSON).
    pub settings: Value,
    /// Trained values, to be cast to the adapter's storage type, and mask indices that are stored explicitly.
    pub tensors: State,
    /// Tensors that replace the model's as a whole beside the method's own, such as a classification head.
    pub whole: Vec<TrainedTensor>,
}

/// A method that trains a model. All tensors live on the thread that made them.
#[derive(Debug)]
pub struct Training {
    method: Box<dyn Method>,
    tensors: Tensors,
    /// What the method itself trains, and the classification head beside it.
    trained: [Vec<TrainedTensor>; 2],
    seed: u64,
}

/// A method on a model with the head of a classifier beside it, which is always trained as a whole. From shapes alone:
/// `transformer` may be an [outline](Transformer::outline). Also gives what is trained, by the method and beside it.
///
/// # Errors
/// Settings, adapter and model that do not fit together.
pub(crate) fn describe(
    entry: &MethodEntry,
    setup: &mut Setup<'_>,
    transformer: &Transformer,
) -> Result<(Description, [Vec<TrainedTensor>; 2])> {
    let mut description = (entry.describe)(setup, transformer)?;
    let body = description.trained(transformer);
    let mut head = transformer.head.classifier_names();
    head.retain(|name| !description.touches(name));
    let head = Description::of_whole(head);
    let beside = head.trained(transformer);
    description.tensors.extend(head.tensors);
    for tensor in description.tensors.iter_mut().filter(|tensor| matches!(tensor.place, Place::Whole)) {
        let replaced =
            |change: &TensorChange| change.name == tensor.name && matches!(change.change, Change::Replace(_));
        for change in setup.take_initial(replaced) {
            if let Change::Replace(values) = change.change {
                tensor.start = Start::Values(values);
            }
        }
    }
    match setup.initial.first() {
        None => Ok((description, [body, beside])),
        Some(change) => Err(Error::input(format!(
            "the adapter to start from changes {}, which --method {} does not train",
            change.name, entry.name
        ))),
    }
}

/// Starts a method on a model, fresh, from the adapter or from the checkpoint in `setup`.
///
/// # Errors
/// Settings, adapter, checkpoint and model that do not fit together, or a device that failed.
pub async fn start(entry: &MethodEntry, setup: &mut Setup<'_>, transformer: &mut Transformer) -> Result<Training> {
    let (Description { mut tensors, hooks, method }, trained) = describe(entry, setup, transformer)?;
    if !setup.sizes_only {
        check_whole(&tensors, transformer, setup.device)?;
        method.prepare(&mut tensors, transformer, setup).await?;
    }
    let from = (setup.state, setup.sizes_only);
    let tensors = Tensors::new(tensors, hooks, transformer, setup.device, setup.seed, from)?;
    Ok(Training { method, tensors, trained, seed: setup.seed })
}

/// Refuses to train a tensor as a whole that the device cannot bind in f32, though it may in fewer bits or in blocks of rows.
fn check_whole(tensors: &[MethodTensor], transformer: &Transformer, device: &ComputeDevice) -> Result<()> {
    let whole = tensors.iter().filter(|tensor| matches!(tensor.place, Place::Whole));
    bindable(whole.map(|tensor| &tensor.name[..]), transformer, device, ["to be trained as a whole", "or "])
}

impl Training {
    /// Every trained tensor and how many trainable parameters it has.
    pub fn trained(&self) -> Vec<TrainedTensor> {
        self.trained.concat()
    }

    /// Number of trainable parameters.
    pub fn trained_parameters(&self) -> usize {
        self.trained.iter().flatten().map(|tensor| tensor.trained).sum()
    }

    /// The tensors as they are.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// How many forward passes a batch takes.
    pub fn passes(&self) -> usize {
        self.method.passes()
    }

    fn pass(&self, batch: u64, index: usize) -> Pass {
        Pass::Training { seed: self.seed, batch, index }
    }

    /// Hooks fresh tracked leaves into the model, before passes of a batch that are to be differentiated. `batch` numbers the
    /// batches of a run: whatever is random in a pass is a function of it and the seed.
    pub fn attach(&mut self, transformer: &mut Transformer, batch: u64) {
        self.tensors.track(transformer);
        self.enter(transformer, batch, 0);
    }

    /// Has the model compute pass `index` of the batch, with the same leaves.
    pub fn enter(&self, transformer: &mut Transformer, batch: u64, index: usize) {
        self.tensors.hook(transformer, self.pass(batch, index));
    }

    /// Has the model compute what it would compute in pass `index` of the batch, but untracked. A graph that is recorded and
    /// then dropped keeps its activations until the next backward pass, so a pass that will not be differentiated must not
    /// record one.
    pub fn enter_untracked(&mut self, transformer: &mut Transformer, batch: u64, index: usize) {
        self.tensors.release();
        self.enter(transformer, batch, index);
    }

    /// Takes the gradients of the leaves out of one backward pass and adds them to those collected so far.
    pub fn collect(&mut self, gradients: &mut Gradients) {
        self.tensors.collect(gradients);
    }

    /// Takes the leaves out again; the model then computes with the current values, untracked, as in evaluation.
    pub fn detach(&mut self, transformer: &mut Transformer) {
        self.tensors.release();
        self.tensors.hook(transformer, Pass::Evaluation);
    }

    /// Sum of the losses `[1]` of some predictions, from the logits `[N, V]` of each pass.
    pub fn loss(&self, logits: Vec<Tensor<2>>, targets: Tensor<1, Int>) -> Tensor<1> {
        self.method.loss(logits, targets)
    }

    /// The method's penalty `[1]` on the present tensors, and its gradients collected; `None` where it has none.
    pub fn penalty(&mut self, transformer: &mut Transformer, batch: u64) -> Option<Tensor<1>> {
        let pass = self.pass(batch, 0);
        self.tensors.track(transformer);
        let penalty = self.method.penalty(&self.tensors, pass);
        if let Some(penalty) = &penalty {
            self.tensors.collect(&mut penalty.backward());
        }
        self.tensors.release();
        penalty.map(Tensor::inner)
    }

    /// One optimizer step with the collected gradients: their global norm, then the step with it. Returns the squared norm
    /// `[1]` before clipping.
    ///
    /// # Errors
    /// No gradient was collected.
    pub fn update(&mut self, transformer: &mut Transformer, settings: &AdamW) -> Result<Tensor<1>> {
        let gradients = self.tensors.gradients();
        if gradients.is_empty() {
            return Err(Error::Run("no trainable parameter received a gradient".into()));
        }
        let norm = kernel::squared_norm(gradients);
        self.tensors.step(transformer, settings, &norm);
        Ok(norm)
    }

    /// What the method does after optimizer step `step`, counted from 1.
    ///
    /// # Errors
    /// The device failed.
    pub async fn after_step(&mut self, step: u64, transformer: &mut Transformer) -> Result<()> {
        self.method.after_step(step, &mut self.tensors, transformer).await
    }

    /// Everything a resumed run needs: trained values, moments, and masks that no seed gives.
    pub fn state(&self, transformer: &Transformer) -> State {
        self.tensors.stored(transformer, true, false)
    }

    /// What goes into the adapter folder.
    pub fn save(&self, transformer: &Transformer) -> Saved {
        let [body, beside] = &self.trained;
        let tensors = self.tensors.stored(transformer, false, self.method.explicit_indices());
        Saved { settings: self.method.settings(body), tensors, whole: beside.clone() }
    }

    /// Puts the pretrained values of chosen entries back, bit for bit, or the changed ones in again.
    pub fn set_applied(&self, transformer: &mut Transformer, applied: bool) {
        self.tensors.set_applied(transformer, applied);
    }
}
