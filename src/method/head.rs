//! Only the head is trained: the least that fine-tuning can be, and a yardstick for the other methods.

use burn::tensor::{Gradients, Tensor};

use super::{Entry, Method, Saved, State, TrainedTensor, dense::DenseTensors};
use crate::{
    Error, Result,
    kernel::AdamW,
    model::{Transformer, head::Head, weights::Weights},
};

pub(super) const ENTRY: Entry = Entry {
    name: "head",
    about: "train only the head: of a classifier, or a language model's own",
    learning_rate: 1e-2,
    start: |_setup, transformer| {
        Ok(Box::new(HeadOnly { tensors: DenseTensors::new(transformer, &names(transformer)?) }))
    },
    deltas: |_adapter| Ok(Vec::new()),
};

struct HeadOnly {
    tensors: DenseTensors,
}

fn names(transformer: &Transformer) -> Result<Vec<String>> {
    match &transformer.head {
        Head::Classifier(_) => Ok(transformer.head.classifier_names()),
        Head::Vocabulary(weight) => Ok(vec![weight.name.clone()]),
        Head::Tied => Err(Error::input(
            "--method head: the head of this model is its embedding table, which is more than a head; use --task \
             classify, or --method full --target-modules with the table's name",
        )),
    }
}

impl Method for HeadOnly {
    fn trained(&self) -> Vec<TrainedTensor> {
        self.tensors.trained()
    }

    fn attach(&mut self, transformer: &mut Transformer, _pass: u64) {
        self.tensors.attach(transformer);
    }

    fn collect(&mut self, gradients: &mut Gradients) {
        self.tensors.collect(gradients);
    }

    fn detach(&mut self, transformer: &mut Transformer) {
        self.tensors.detach(transformer);
    }

    fn squared_norms(&self) -> Vec<Tensor<1>> {
        self.tensors.squared_norms()
    }

    fn step(&mut self, transformer: &mut Transformer, settings: &AdamW, squared_norm: &Tensor<1>) {
        self.tensors.step(transformer, settings, squared_norm);
    }

    fn state(&self, transformer: &Transformer) -> State {
        State { values: self.tensors.state(transformer), indices: Vec::new() }
    }

    fn restore(&mut self, transformer: &mut Transformer, state: &Weights) -> Result<()> {
        self.tensors.restore(transformer, state)
    }

    fn save(&self, transformer: &Transformer) -> Saved {
        let shapes = self.tensors.trained().into_iter();
        Saved {
            settings: serde_json::json!({}),
            values: self.tensors.values(transformer),
            dense: shapes.map(|tensor| (tensor.name, tensor.shape)).collect(),
            ..Saved::default()
        }
    }
}
