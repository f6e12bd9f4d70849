//! Full fine-tuning: every number of the target tensors is trained.

use super::{
    Entry, Method, Saved, Setup, State, TrainedTensor,
    adapter::Adapter,
    delta::{Delta, TensorDelta},
    dense::DenseTensors,
    targets,
};
use crate::{
    Result,
    kernel::AdamW,
    model::{Transformer, weights::Weights},
};
use burn::tensor::{Gradients, Tensor};

pub(super) const ENTRY: Entry = Entry {
    name: "full",
    about: "train every weight (or every weight of --target-modules)",
    learning_rate: 1e-3,
    start: |setup, transformer| Ok(Box::new(Full::start(setup, transformer)?)),
    deltas,
};

#[derive(Debug)]
struct Full {
    tensors: DenseTensors,
}

impl Full {
    fn start(setup: &mut Setup, transformer: &mut Transformer) -> Result<Self> {
        for change in setup.take_initial(|delta| matches!(delta, Delta::Replace(_))) {
            let Delta::Replace(values) = change.delta else { continue };
            let parameter = super::parameter_for(transformer, &change.name, &change.shape)?;
            let dims = parameter.matrix_dims();
            parameter.update(|_| setup.device.floats(values, dims));
        }
        let names = targets::select(transformer, &setup.config.target_modules, &setup.config.frozen_modules)?;
        Ok(Self { tensors: DenseTensors::new(transformer, &names) })
    }
}

impl Method for Full {
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
        Saved {
            settings: serde_json::json!({ "tensors": self.trained() }),
            values: self.tensors.values(transformer),
            ..Saved::default()
        }
    }
}

/// What the adapter of a full run changes: its weights replace the model's.
fn deltas(adapter: &Adapter) -> Result<Vec<TensorDelta>> {
    #[derive(serde::Deserialize)]
    struct Settings {
        tensors: Vec<TrainedTensor>,
    }
    let settings: Settings = adapter.settings()?;
    let read = |tensor: TrainedTensor| {
        let values = adapter.weights.floats(&tensor.name).map_err(|e| adapter.error(e))?;
        Ok(TensorDelta { name: tensor.name, shape: tensor.shape, delta: Delta::Replace(values) })
    };
    settings.tensors.into_iter().map(read).collect()
}
