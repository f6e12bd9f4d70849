//! SpaRTA: sparse random parameter adaptation (arXiv 2502.15975).
//!
//! A random few numbers of the target tensors are trained as deltas on their pretrained values; everything else stays
//! frozen. The weights hold `base + delta` at all times, so the forward pass costs what inference costs.

use burn::tensor::{Device, Gradients, Int, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    Entry, Method, NamedIndices, Saved, Setup, State, TrainedTensor, accumulate,
    adapter::Adapter,
    delta::{Delta, TensorDelta, check_indices},
    mask, parameter_for,
    plan::{MaskSettings, plan, planned},
    stored,
};
use crate::{
    Error, Result,
    device::ComputeDevice,
    kernel::{self, AdamW, Matrix, Pattern, matrix::write::Step},
    model::{Adaptation, Parameter, Transformer, weights::Weights},
};

pub(super) const ENTRY: Entry = Entry {
    name: "sparta",
    about: "train a random sparse part of the weights (arXiv 2502.15975)",
    learning_rate: 5e-3,
    plan: planned,
    start: |setup, transformer| Box::pin(Sparta::start(setup, transformer)),
    deltas,
};

/// What an adapter folder records of the method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    seed: u64,
    /// Share of the whole model that is frozen.
    sparsity: f64,
    tensors: Vec<MaskSettings>,
    /// Whether the masks are those of the seed, or must be read from the file.
    drawn_from_seed: bool,
}

/// One sparsely trained tensor.
#[derive(Debug)]
struct SparseTensor {
    mask: MaskSettings,
    /// Where the weight stands among the model's parameters.
    place: usize,
    /// Sorted flat indices `[N]`.
    indices: Tensor<1, Int>,
    /// Pretrained values `[N]`.
    base: Tensor<1>,
    /// Trained deltas `[N]` and AdamW's moments `[2, N]`; `None` only inside a step.
    trained: Option<(Tensor<1>, Tensor<2>)>,
    /// Where the numbers are, if the weight is quantized: the deltas are then kept beside it.
    beside: Option<Pattern>,
    leaf: Option<Tensor<1>>,
    grad: Option<Tensor<1>>,
}

/// SpaRTA on one model.
#[derive(Debug)]
pub struct Sparta {
    seed: u64,
    sparsity: f64,
    drawn_from_seed: bool,
    explicit_indices: bool,
    tensors: Vec<SparseTensor>,
}

/// The hook in one parameter: its value is the weight that already holds the deltas; gradients go to `leaf`. A quantized
/// weight does not hold them: there `leaf` is added beside it.
#[derive(Debug)]
struct SparseAdaptation {
    leaf: Tensor<1>,
    indices: Tensor<1, Int>,
    beside: Option<Pattern>,
    transposed: bool,
}

impl Adaptation for SparseAdaptation {
    fn linear(&self, x: Tensor<2>, weight: &Matrix, addend: Option<Tensor<2>>) -> Tensor<2> {
        let (leaf, along) = (self.leaf.clone(), !self.transposed);
        match &self.beside {
            Some(pattern) => {
                kernel::add_sparse_product(weight.linear(x.clone(), addend, along), x, leaf, pattern, along)
            }
            None => kernel::sparse_linear(x, weight, leaf, self.indices.clone(), addend, self.transposed),
        }
    }

    fn embed(&self, ids: Tensor<1, Int>, weight: &Matrix) -> Tensor<2> {
        kernel::sparse_embedding(ids, weight, self.leaf.clone(), self.indices.clone())
    }

    fn small(&self, weight: &Matrix) -> Tensor<2> {
        kernel::sparse_tensor(weight.dense(), self.leaf.clone(), self.indices.clone())
    }
}

impl Sparta {
    async fn start(setup: &mut Setup<'_>, transformer: &mut Transformer) -> Result<Box<dyn Method>> {
        let initial = setup.take_initial(|delta| matches!(delta, Delta::Sparse { .. }));
        if !initial.is_empty() {
            return Ok(Box::new(Self::continued(initial, transformer, setup.device)?));
        }
        let masks = plan(setup.config, transformer)?;
        let entry = mask::find(&setup.config.mask)?;
        let drawn = match entry.choose {
            // Only how many they are counts there.
            _ if !setup.device.has_values() => masks.iter().map(|mask| vec![0; mask.trained()]).collect(),
            None => masks.iter().map(|mask| mask.indices(setup.seed)).collect(),
            Some(_) if masks.iter().any(|mask| !mask.rows.is_empty()) => {
                return Err(Error::input(format!("--trainable-tokens goes with --mask random, not {}", entry.name)));
            }
            Some(choose) => {
                let wanted: Vec<_> = masks.iter().map(|mask| (mask.name.clone(), mask.drawn)).collect();
                choose(&wanted, transformer, setup).await?
            }
        };
        let mut sparta = Self::with_masks(masks.into_iter().zip(drawn).collect(), transformer, setup.device);
        let trained: usize = sparta.tensors.iter().map(|tensor| tensor.mask.trained()).sum();
        sparta.sparsity = 1.0 - trained as f64 / transformer.parameter_count() as f64;
        (sparta.seed, sparta.drawn_from_seed) = (setup.seed, entry.choose.is_none());
        sparta.explicit_indices = setup.config.explicit_indices;
        Ok(Box::new(sparta))
    }

    /// Goes on with the masks and deltas of an adapter.
    fn continued(initial: Vec<TensorDelta>, transformer: &mut Transformer, device: &ComputeDevice) -> Result<Self> {
        let mut deltas = Vec::new();
        let mut masks = Vec::new();
        for change in initial {
            let Delta::Sparse { indices, values } = change.delta else { continue };
            parameter_for(transformer, &change.name, &change.shape)?;
            if !indices.is_empty() {
                masks.push((change.name, indices));
                deltas.push(values);
            }
        }
        let mut sparta = Self::with_indices(masks, transformer, device)?;
        for (tensor, values) in sparta.tensors.iter_mut().zip(deltas) {
            let count = values.len();
            tensor.trained = tensor.trained.take().map(|(_, moments)| (device.floats(values, [count]), moments));
        }
        sparta.set_applied(transformer, true);
        Ok(sparta)
    }

    /// SpaRTA with masks that are given: name of each parameter and its sorted flat indices.
    ///
    /// # Errors
    /// A parameter that the model does not have, or indices that are out of range, unsorted or repeated.
    pub fn with_indices(
        masks: Vec<(String, Vec<u32>)>,
        transformer: &mut Transformer,
        device: &ComputeDevice,
    ) -> Result<Self> {
        let mut settings = Vec::new();
        for (name, indices) in masks {
            let parameter = transformer
                .parameter_mut(&name)
                .ok_or_else(|| Error::input(format!("the model has no parameter {name}")))?;
            check_indices(&name, &indices, parameter.len())?;
            let mask = MaskSettings { name, shape: parameter.dims.clone(), drawn: indices.len(), rows: Vec::new() };
            settings.push((mask, indices));
        }
        let trained: usize = settings.iter().map(|(_, indices)| indices.len()).sum();
        let mut sparta = Self::with_masks(settings, transformer, device);
        sparta.sparsity = 1.0 - trained as f64 / transformer.parameter_count() as f64;
        Ok(sparta)
    }

    fn with_masks(masks: Vec<(MaskSettings, Vec<u32>)>, transformer: &mut Transformer, device: &ComputeDevice) -> Self {
        let tensors = masks
            .into_iter()
            .filter(|(_, indices)| !indices.is_empty())
            .map(|(mask, indices)| {
                let count = indices.len();
                let place = transformer.place(&mask.name).expect("masks name parameters of the model");
                let parameter = transformer.parameters()[place];
                let on_device = device.indices(&indices);
                let (beside, indices) = (beside(parameter, &indices, &on_device), on_device);
                let base = parameter.value().at(indices.clone());
                let trained = Some((zeros(count, &device.handle), Tensor::zeros([2, count], &device.handle)));
                SparseTensor { mask, place, indices, base, trained, beside, leaf: None, grad: None }
            })
            .collect();
        Self { seed: 0, sparsity: 0.0, drawn_from_seed: false, explicit_indices: true, tensors }
    }

    /// Restores the original weights (bit for bit) or applies the adapter again.
    pub fn set_applied(&self, transformer: &mut Transformer, applied: bool) {
        for tensor in &self.tensors {
            let (delta, _) = tensor.trained();
            if tensor.beside.is_some() {
                let leaf = applied.then(|| delta.clone());
                tensor.hook(transformer.parameters_mut()[tensor.place], leaf);
                continue;
            }
            let values = if applied { tensor.base.clone() + delta.clone() } else { tensor.base.clone() };
            tensor.write(transformer, values);
        }
    }
}

/// Where the numbers at `indices` are in a weight that cannot hold changed ones.
fn beside(parameter: &Parameter, indices: &[u32], on_device: &Tensor<1, Int>) -> Option<Pattern> {
    let quantized = parameter.value().is_quantized();
    quantized.then(|| Pattern::new(indices, on_device.clone(), parameter.matrix_dims()))
}

/// A fresh vector of zeros. Each call is a buffer of its own: deltas and moments are written in place.
fn zeros(count: usize, device: &Device) -> Tensor<1> {
    Tensor::zeros([count], device)
}

impl SparseTensor {
    fn trained(&self) -> &(Tensor<1>, Tensor<2>) {
        self.trained.as_ref().expect("deltas are back after every step")
    }

    /// The mask under the name that files give it.
    fn stored_indices(&self) -> NamedIndices {
        (format!("{}.indices", self.mask.name), self.indices.clone())
    }

    /// Takes another mask of the same size, on a model that holds its original values.
    fn move_to(&mut self, transformer: &mut Transformer, indices: &[u32]) {
        let parameter = transformer.parameter_mut(&self.mask.name).expect("masks name parameters of the model");
        let words: Vec<i32> = indices.iter().map(|&index| index as i32).collect();
        let len = words.len();
        let data = burn::tensor::TensorData::new(words, [len]);
        self.indices = Tensor::from_data(data, (&self.base.device(), burn::tensor::DType::I32));
        self.base = parameter.value().at(self.indices.clone());
        self.beside = beside(parameter, indices, &self.indices);
    }

    /// Has the parameter compute with `leaf`, or without any hook.
    fn hook(&self, parameter: &mut Parameter, leaf: Option<Tensor<1>>) {
        let (indices, beside, transposed) = (self.indices.clone(), self.beside.clone(), parameter.transposed());
        parameter.adaptation = leaf.map(|leaf| {
            let hook: Box<dyn Adaptation> = Box::new(SparseAdaptation { leaf, indices, beside, transposed });
            hook
        });
    }

    fn write(&self, transformer: &mut Transformer, values: Tensor<1>) {
        let parameter = transformer.parameter_mut(&self.mask.name).expect("masks name parameters of the model");
        parameter.update(|weight| weight.write(self.indices.clone(), values));
    }
}

impl Method for Sparta {
    fn trained(&self) -> Vec<TrainedTensor> {
        self.tensors.iter().map(|tensor| tensor.mask.tensor()).collect()
    }

    fn attach(&mut self, transformer: &mut Transformer, _pass: u64) {
        let mut parameters = transformer.parameters_mut();
        for tensor in &mut self.tensors {
            let leaf = Tensor::from_inner(tensor.trained().0.clone()).require_grad();
            tensor.leaf = Some(leaf.clone());
            tensor.hook(parameters[tensor.place], Some(leaf));
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
            tensor.leaf = None;
            // Beside a quantized weight the deltas go on taking part.
            let kept = tensor.beside.is_some().then(|| tensor.trained().0.clone());
            tensor.hook(parameters[tensor.place], kept);
        }
    }

    fn gradients(&self) -> Vec<Tensor<1>> {
        self.tensors.iter().filter_map(|tensor| tensor.grad.clone()).collect()
    }

    fn step(&mut self, transformer: &mut Transformer, settings: &AdamW, squared_norm: &Tensor<1>) {
        let mut parameters = transformer.parameters_mut();
        for tensor in &mut self.tensors {
            let Some(grad) = tensor.grad.take() else { continue };
            let (delta, moments) = tensor.trained.take().expect("deltas are back after every step");
            let (indices, base) = (tensor.indices.clone(), tensor.base.clone());
            let trained = &mut tensor.trained;
            parameters[tensor.place].update(|weight| {
                let step = Step { indices, base, grad, squared_norm: squared_norm.clone(), settings: *settings };
                let (weight, delta, moments) = weight.step(delta, moments, step);
                *trained = Some((delta, moments));
                weight
            });
        }
    }

    fn state(&self, _transformer: &Transformer) -> State {
        let values = self.tensors.iter().flat_map(|tensor| {
            let (delta, moments) = tensor.trained();
            let len = delta.dims()[0];
            [
                (format!("{}.delta", tensor.mask.name), delta.clone()),
                (format!("{}.moments", tensor.mask.name), moments.clone().reshape([2 * len])),
            ]
        });
        let indices = self.tensors.iter().filter(|_| !self.drawn_from_seed).map(SparseTensor::stored_indices);
        State { values: values.collect(), indices: indices.collect() }
    }

    fn restore(&mut self, transformer: &mut Transformer, state: &Weights) -> Result<()> {
        for tensor in &mut self.tensors {
            let (name, count) = (tensor.mask.name.clone(), tensor.mask.trained());
            if !self.drawn_from_seed {
                // A mask chosen by gradients may come out a little different on another device: the first one counts.
                let indices = state.indices(&format!("{name}.indices"))?;
                let len = tensor.mask.len();
                check_indices(&name, &indices, len)?;
                if indices.len() != count {
                    return Err(Error::input(format!("the checkpoint's mask of {name} belongs to another run")));
                }
                tensor.move_to(transformer, &indices);
            }
            let delta = stored(state, &format!("{name}.delta"), count)?;
            let moments = stored(state, &format!("{name}.moments"), 2 * count)?;
            let device = tensor.base.device();
            let upload = |values: Vec<f32>, dims: [usize; 1]| {
                Tensor::<1>::from_data(burn::tensor::TensorData::new(values, dims), &device)
            };
            tensor.trained = Some((upload(delta, [count]), upload(moments, [2 * count]).reshape([2, count])));
        }
        self.set_applied(transformer, true);
        Ok(())
    }

    fn save(&self, _transformer: &Transformer) -> Saved {
        let settings = Settings {
            seed: self.seed,
            sparsity: self.sparsity,
            tensors: self.tensors.iter().map(|tensor| tensor.mask.clone()).collect(),
            drawn_from_seed: self.drawn_from_seed,
        };
        let explicit = self.explicit_indices || !self.drawn_from_seed;
        Saved {
            settings: serde_json::to_value(settings).expect("plain numbers and names"),
            values: self
                .tensors
                .iter()
                .map(|tensor| (format!("{}.delta", tensor.mask.name), tensor.trained().0.clone()))
                .collect(),
            indices: self.tensors.iter().filter(|_| explicit).map(SparseTensor::stored_indices).collect(),
            ..Saved::default()
        }
    }
}

/// What an adapter adds: its deltas at its indices, which are stored or drawn again from the seed.
fn deltas(adapter: &Adapter) -> Result<Vec<TensorDelta>> {
    let settings: Settings = adapter.settings()?;
    let read = |mask: MaskSettings| {
        let rows_fit = mask.rows.windows(2).all(|pair| pair[0] < pair[1])
            && mask.rows.last().is_none_or(|&row| mask.shape.first().is_some_and(|&rows| (row as usize) < rows));
        if !rows_fit || mask.rows.len() * mask.width() + mask.drawn.min(mask.len() + 1) > mask.len() {
            return Err(adapter.error(format!("the mask of {} does not fit its shape", mask.name)));
        }
        let stored = format!("{}.indices", mask.name);
        let indices = match adapter.weights.dims(&stored) {
            Some(_) => adapter.weights.indices(&stored)?,
            None if settings.drawn_from_seed => mask.indices(settings.seed),
            None => return Err(adapter.error(format!("{stored} is missing"))),
        };
        let values = adapter.weights.floats(&format!("{}.delta", mask.name)).map_err(|e| adapter.error(e))?;
        Ok(TensorDelta { name: mask.name, shape: mask.shape, delta: Delta::Sparse { indices, values } })
    };
    settings.tensors.into_iter().map(read).collect()
}
