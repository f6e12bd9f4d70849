//! Full fine-tuning: every number of the target tensors is trained.

use burn::tensor::{Gradients, Int, Tensor, TensorData};

use super::{
    Entry, Method, NamedTensor, Saved, TrainedTensor, accumulate,
    adapter::Adapter,
    delta::{Delta, TensorDelta},
    stored, targets, total,
};
use crate::{
    Error, Result,
    config::MethodConfig,
    kernel::{self, AdamW},
    model::{Adaptation, Transformer, weights::Weights},
};

pub(super) const ENTRY: Entry = Entry {
    name: "full",
    about: "train every weight (or every weight of --target-modules)",
    learning_rate: 1e-3,
    start: |config, transformer, _device, _seed| Ok(Box::new(Full::start(config, transformer)?)),
    deltas,
};

#[derive(Debug)]
struct DenseTensor {
    name: String,
    shape: Vec<usize>,
    /// AdamW's moments `[2, len]`; `None` only inside a step.
    moments: Option<Tensor<2>>,
    leaf: Option<Tensor<2>>,
    grad: Option<Tensor<2>>,
}

#[derive(Debug)]
struct Full {
    tensors: Vec<DenseTensor>,
}

/// The hook in one parameter: the weight itself, tracked.
#[derive(Debug)]
struct DenseAdaptation {
    leaf: Tensor<2>,
}

impl Adaptation for DenseAdaptation {
    fn linear(&self, x: Tensor<2>, _weight: &Tensor<2>) -> Tensor<2> {
        x.matmul(self.leaf.clone().transpose())
    }

    fn embed(&self, ids: Tensor<1, Int>, _weight: &Tensor<2>) -> Tensor<2> {
        self.leaf.clone().select(0, ids)
    }

    fn small(&self, _weight: &Tensor<2>) -> Tensor<2> {
        self.leaf.clone()
    }
}

impl Full {
    fn start(config: &MethodConfig, transformer: &Transformer) -> Result<Self> {
        // The default targets are those of the sparse method; full fine-tuning means everything unless told otherwise.
        let targets = if config.target_modules_given { &config.target_modules[..] } else { &[] };
        let names = targets::select(transformer, targets, &config.frozen_modules)?;
        let tensors = transformer.parameters().into_iter().filter(|p| names.contains(&p.name)).map(|p| DenseTensor {
            name: p.name.clone(),
            shape: p.dims.clone(),
            moments: Some(Tensor::zeros([2, p.len()], transformer.device())),
            leaf: None,
            grad: None,
        });
        Ok(Self { tensors: tensors.collect() })
    }
}

impl Method for Full {
    fn trained(&self) -> Vec<TrainedTensor> {
        self.tensors
            .iter()
            .map(|tensor| TrainedTensor {
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
                trained: tensor.shape.iter().product(),
            })
            .collect()
    }

    fn attach(&mut self, transformer: &mut Transformer) {
        for tensor in &mut self.tensors {
            let parameter = transformer.parameter_mut(&tensor.name).expect("targets are parameters of the model");
            let leaf = Tensor::from_inner(parameter.value().clone()).require_grad();
            tensor.leaf = Some(leaf.clone());
            parameter.adaptation = Some(Box::new(DenseAdaptation { leaf }));
        }
    }

    fn collect(&mut self, gradients: &mut Gradients) {
        for tensor in &mut self.tensors {
            let new = tensor.leaf.as_ref().and_then(|leaf| leaf.grad_remove(gradients));
            accumulate(&mut tensor.grad, new);
        }
    }

    fn detach(&mut self, transformer: &mut Transformer) {
        for tensor in &mut self.tensors {
            // The leaf is a second handle of the weight; in-place steps need the only one.
            tensor.leaf = None;
            if let Some(parameter) = transformer.parameter_mut(&tensor.name) {
                parameter.adaptation = None;
            }
        }
    }

    fn step(&mut self, transformer: &mut Transformer, settings: &AdamW) -> Result<Tensor<1>> {
        let flat = |grad: Tensor<2>| {
            let len = grad.shape().num_elements();
            grad.reshape([len])
        };
        let norms: Vec<_> = self
            .tensors
            .iter()
            .filter_map(|tensor| tensor.grad.clone())
            .map(|grad| kernel::squared_norm(flat(grad)))
            .collect();
        if norms.is_empty() {
            return Err(Error::Run("no trained number received a gradient".into()));
        }
        let norm = total(norms);
        for tensor in &mut self.tensors {
            let Some(grad) = tensor.grad.take() else { continue };
            let moments = tensor.moments.take().expect("moments are back after every step");
            let parameter = transformer.parameter_mut(&tensor.name).expect("targets are parameters of the model");
            let kept = &mut tensor.moments;
            parameter.update(|weight| {
                let (weight, moments) = kernel::dense_step(weight, moments, grad, norm.clone(), *settings);
                *kept = Some(moments);
                weight
            });
        }
        Ok(norm)
    }

    fn state(&self, transformer: &Transformer) -> Vec<NamedTensor> {
        let moments = self.tensors.iter().map(|tensor| {
            let len: usize = tensor.shape.iter().product();
            let moments = tensor.moments.as_ref().expect("moments are back after every step");
            (format!("{}.moments", tensor.name), moments.clone().reshape([2 * len]))
        });
        self.save(transformer).values.into_iter().chain(moments).collect()
    }

    fn restore(&mut self, transformer: &mut Transformer, state: &Weights) -> Result<()> {
        for tensor in &mut self.tensors {
            let len: usize = tensor.shape.iter().product();
            let moments = stored(state, &format!("{}.moments", tensor.name), 2 * len)?;
            let values = stored(state, &tensor.name, len)?;
            let device = transformer.device().clone();
            tensor.moments = Some(Tensor::from_data(TensorData::new(moments, [2, len]), &device));
            let parameter = transformer.parameter_mut(&tensor.name).expect("targets are parameters of the model");
            let dims = parameter.matrix_dims();
            parameter.update(|_| Tensor::from_data(TensorData::new(values, dims), &device));
        }
        Ok(())
    }

    fn save(&self, transformer: &Transformer) -> Saved {
        let values = transformer
            .parameters()
            .into_iter()
            .filter(|p| self.tensors.iter().any(|tensor| tensor.name == p.name))
            .map(|p| (p.name.clone(), p.value().clone().reshape([p.len()])))
            .collect();
        Saved { settings: serde_json::json!({ "tensors": self.trained() }), values, indices: Vec::new() }
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
