//! Tensors that are trained as a whole: all of full fine-tuning, and the head of every classifier.

use burn::tensor::{Gradients, Int, Tensor, TensorData};

use super::{
    Means, Method, NamedTensor, Planned, Saved, State, TrainedTensor, accumulate,
    adapter::Adapter,
    delta::{Delta, TensorDelta},
    stored,
};
use crate::{
    Result, device,
    kernel::{self, AdamW, Matrix},
    model::{Adaptation, Parameter, Transformer, weights::Weights},
};

#[derive(Debug)]
struct DenseTensor {
    name: String,
    /// Where it stands among the model's parameters.
    place: usize,
    shape: Vec<usize>,
    /// AdamW's moments `[2, len]`; `None` only inside a step.
    moments: Option<Tensor<2>>,
    leaf: Option<Tensor<2>>,
    grad: Option<Tensor<2>>,
}

/// Parameters of a model that are trained as a whole, in place.
#[derive(Debug)]
pub(super) struct DenseTensors {
    tensors: Vec<DenseTensor>,
}

/// The hook in one parameter: the weight itself, tracked.
#[derive(Debug)]
struct DenseAdaptation {
    leaf: Tensor<2>,
    transposed: bool,
}

impl Adaptation for DenseAdaptation {
    fn linear(&self, x: Tensor<2>, _weight: &Matrix, addend: Option<Tensor<2>>) -> Tensor<2> {
        kernel::linear(x, self.leaf.clone(), addend, self.transposed)
    }

    fn embed(&self, ids: Tensor<1, Int>, _weight: &Matrix) -> Tensor<2> {
        self.leaf.clone().select(0, ids)
    }

    fn small(&self, _weight: &Matrix) -> Tensor<2> {
        self.leaf.clone()
    }
}

/// Those parameters of the model that `names` lists, and where they stand.
fn chosen<'a>(transformer: &'a Transformer, names: &[String]) -> impl Iterator<Item = (usize, &'a Parameter)> {
    transformer.parameters().into_iter().enumerate().filter(|(_, parameter)| names.contains(&parameter.name))
}

/// What training those parameters as a whole means.
pub(super) fn planned(transformer: &Transformer, names: &[String]) -> Vec<Planned> {
    let all = chosen(transformer, names);
    all.map(|(_, p)| Planned { tensor: whole(&p.name, &p.dims), means: Means::Whole }).collect()
}

fn whole(name: &str, shape: &[usize]) -> TrainedTensor {
    TrainedTensor { name: name.into(), shape: shape.to_vec(), trained: shape.iter().product() }
}

impl DenseTensors {
    /// Those parameters of the model that `names` lists. They are kept in f32 from now on.
    pub(super) fn new(transformer: &mut Transformer, names: &[String]) -> Self {
        for parameter in transformer.parameters_mut() {
            if names.contains(&parameter.name) {
                parameter.make_dense();
            }
        }
        let tensors = chosen(transformer, names).map(|(place, p)| DenseTensor {
            name: p.name.clone(),
            place,
            shape: p.dims.clone(),
            moments: Some(Tensor::zeros([2, p.len()], transformer.device())),
            leaf: None,
            grad: None,
        });
        Self { tensors: tensors.collect() }
    }

    /// Current values, by name.
    pub(super) fn values(&self, transformer: &Transformer) -> Vec<NamedTensor> {
        let trained = |parameter: &&Parameter| self.tensors.iter().any(|tensor| tensor.name == parameter.name);
        let all = transformer.parameters().into_iter().filter(trained);
        all.map(|parameter| (parameter.name.clone(), flat(parameter.value().dense()))).collect()
    }
}

impl Method for DenseTensors {
    fn trained(&self) -> Vec<TrainedTensor> {
        self.tensors.iter().map(|tensor| whole(&tensor.name, &tensor.shape)).collect()
    }

    fn attach(&mut self, transformer: &mut Transformer, _pass: u64) {
        let mut parameters = transformer.parameters_mut();
        for tensor in &mut self.tensors {
            let parameter = &mut parameters[tensor.place];
            let leaf = Tensor::from_inner(parameter.value().dense()).require_grad();
            tensor.leaf = Some(leaf.clone());
            let transposed = parameter.transposed();
            parameter.adaptation = Some(Box::new(DenseAdaptation { leaf, transposed }));
        }
    }

    fn collect(&mut self, gradients: &mut Gradients) {
        for tensor in &mut self.tensors {
            let new = tensor.leaf.as_ref().and_then(|leaf| leaf.grad_remove(gradients));
            accumulate(&mut tensor.grad, new);
        }
    }

    fn detach(&mut self, transformer: &mut Transformer) {
        let mut parameters = transformer.parameters_mut();
        for tensor in &mut self.tensors {
            // The leaf is a second handle of the weight; in-place steps need the only one.
            tensor.leaf = None;
            parameters[tensor.place].adaptation = None;
        }
    }

    fn gradients(&self) -> Vec<Tensor<1>> {
        self.tensors.iter().filter_map(|tensor| tensor.grad.clone()).map(flat).collect()
    }

    fn step(&mut self, transformer: &mut Transformer, settings: &AdamW, squared_norm: &Tensor<1>) {
        let mut parameters = transformer.parameters_mut();
        for tensor in &mut self.tensors {
            let Some(grad) = tensor.grad.take() else { continue };
            let moments = tensor.moments.take().expect("moments are back after every step");
            let kept = &mut tensor.moments;
            parameters[tensor.place].update(|weight| {
                let weight = weight.into_dense();
                let (weight, moments) = kernel::dense_step(weight, moments, grad, squared_norm.clone(), *settings);
                *kept = Some(moments);
                Matrix::Dense(weight)
            });
        }
    }

    fn state(&self, transformer: &Transformer) -> State {
        let moments = self.tensors.iter().map(|tensor| {
            let len: usize = tensor.shape.iter().product();
            let moments = tensor.moments.as_ref().expect("moments are back after every step");
            (format!("{}.moments", tensor.name), moments.clone().reshape([2 * len]))
        });
        State { values: self.values(transformer).into_iter().chain(moments).collect(), indices: Vec::new() }
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
            parameter.update(|_| Matrix::Dense(Tensor::from_data(TensorData::new(values, dims), &device)));
        }
        Ok(())
    }

    fn save(&self, transformer: &Transformer) -> Saved {
        Saved {
            settings: serde_json::json!({ "tensors": self.trained() }),
            values: self.values(transformer),
            ..Saved::default()
        }
    }
}

/// What the adapter of tensors that were trained as a whole changes: its values replace the model's.
pub(super) fn deltas(adapter: &Adapter) -> Result<Vec<TensorDelta>> {
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

/// A gradient as a vector.
pub(super) fn flat(grad: Tensor<2>) -> Tensor<1> {
    let len = grad.shape().num_elements();
    grad.reshape([len])
}

/// Dense gradients of named parameters, each in the layout of the checkpoint, by one backward pass.
///
/// # Errors
/// The device failed.
pub async fn dense_gradients(
    transformer: &mut Transformer,
    names: &[String],
    backward: impl FnOnce(&Transformer) -> Gradients,
) -> Result<Vec<Vec<f32>>> {
    let values = |transformer: &Transformer| -> Vec<Matrix> {
        chosen(transformer, names).map(|(_, parameter)| parameter.value().clone()).collect()
    };
    let before = values(transformer);
    let mut tensors = DenseTensors::new(transformer, names);
    tensors.attach(transformer, 0);
    tensors.collect(&mut backward(transformer));
    tensors.detach(transformer);
    // The model goes on with its weights as they were kept.
    let parameters = transformer.parameters_mut().into_iter().filter(|parameter| names.contains(&parameter.name));
    for (parameter, value) in parameters.zip(before) {
        parameter.update(|_| value);
    }
    let mut gradients = Vec::with_capacity(names.len());
    for name in names {
        let tensor = tensors.tensors.iter_mut().find(|tensor| tensor.name == *name);
        let len = tensor.as_ref().map_or(0, |tensor| tensor.shape.iter().product());
        gradients.push(match tensor.and_then(|tensor| tensor.grad.take()) {
            Some(grad) => device::read(grad).await?,
            None => vec![0.0; len],
        });
    }
    Ok(gradients)
}
