//! The head of a classifier is trained as a whole, whatever the method does with the body.

use burn::tensor::{Gradients, Tensor};

use super::{
    Method, Planned, Saved, Setup, State, TrainedTensor,
    delta::{Delta, TensorDelta},
    dense::{self, DenseTensors},
    replace,
};
use crate::{
    Error, Result,
    kernel::AdamW,
    model::{Transformer, weights::Weights},
};

/// A method and, beside it, the classification head.
struct WithHead {
    body: Box<dyn Method>,
    head: DenseTensors,
}

/// Names of the classification head's tensors, where there is one, that a body does not train itself.
fn left_to_train<'a>(trained: impl Iterator<Item = &'a TrainedTensor>, transformer: &Transformer) -> Vec<String> {
    let trained: Vec<&str> = trained.map(|tensor| &tensor.name[..]).collect();
    let mut names = transformer.head.classifier_names();
    names.retain(|name| !trained.contains(&&name[..]));
    names
}

/// Adds the classification head to what `body` trains.
pub(super) fn planned(mut body: Vec<Planned>, transformer: &Transformer) -> Vec<Planned> {
    let names = left_to_train(body.iter().map(|planned| &planned.tensor), transformer);
    body.extend(dense::planned(transformer, &names));
    body
}

/// Adds the training of the classification head to `body`, where there is one that `body` does not train itself.
pub(super) fn wrap(body: Box<dyn Method>, transformer: &mut Transformer) -> Box<dyn Method> {
    let names = left_to_train(body.trained().iter(), transformer);
    if names.is_empty() {
        return body;
    }
    Box::new(WithHead { body, head: DenseTensors::new(transformer, &names) })
}

/// Puts the classification head of the adapter to go on from into the model.
pub(super) fn take_initial(setup: &mut Setup, transformer: &mut Transformer) -> Result<()> {
    let names = transformer.head.classifier_names();
    let all = std::mem::take(&mut setup.initial).into_iter();
    let (head, body): (Vec<TensorDelta>, Vec<TensorDelta>) = all.partition(|change| names.contains(&change.name));
    setup.initial = body;
    for change in head {
        let Delta::Replace(values) = change.delta else {
            return Err(Error::input(format!("{}: a classification head is stored as a whole", change.name)));
        };
        replace(transformer, &change.name, &change.shape, values, setup.device)?;
    }
    Ok(())
}

impl Method for WithHead {
    fn trained(&self) -> Vec<TrainedTensor> {
        let mut all = self.body.trained();
        all.extend(self.head.trained());
        all
    }

    fn attach(&mut self, transformer: &mut Transformer, pass: u64) {
        self.body.attach(transformer, pass);
        self.head.attach(transformer, pass);
    }

    fn rehearse(&mut self, transformer: &mut Transformer, pass: u64) {
        self.body.rehearse(transformer, pass);
        self.head.rehearse(transformer, pass);
    }

    fn collect(&mut self, gradients: &mut Gradients) {
        self.body.collect(gradients);
        self.head.collect(gradients);
    }

    fn detach(&mut self, transformer: &mut Transformer) {
        self.body.detach(transformer);
        self.head.detach(transformer);
    }

    fn gradients(&self) -> Vec<Tensor<1>> {
        let mut all = self.body.gradients();
        all.extend(self.head.gradients());
        all
    }

    fn step(&mut self, transformer: &mut Transformer, settings: &AdamW, squared_norm: &Tensor<1>) {
        self.body.step(transformer, settings, squared_norm);
        self.head.step(transformer, settings, squared_norm);
    }

    fn state(&self, transformer: &Transformer) -> State {
        let mut state = self.body.state(transformer);
        state.values.extend(self.head.state(transformer).values);
        state
    }

    fn restore(&mut self, transformer: &mut Transformer, state: &Weights) -> Result<()> {
        self.body.restore(transformer, state)?;
        self.head.restore(transformer, state)
    }

    fn save(&self, transformer: &Transformer) -> Saved {
        let mut saved = self.body.save(transformer);
        saved.values.extend(self.head.values(transformer));
        let shapes = self.head.trained().into_iter();
        saved.dense.extend(shapes.map(|tensor| (tensor.name, tensor.shape)));
        saved
    }
}
