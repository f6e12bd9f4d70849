//! LoRA: low-rank adaptation (Hu et al. 2021, arXiv 2106.09685), and its rank-stabilised scaling (rsLoRA,
//! arXiv 2312.03732).
//!
//! A target layer computes `y = x W^T + scale * (x A^T) B^T` with a frozen `W`: the product `B A` is never formed, and no
//! gradient has the shape of a weight. `A` starts uniform and `B` at zero, as in Hugging Face's PEFT.

use burn::tensor::{Gradients, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{
    Entry, Means, Method, NamedTensor, Planned, Saved, Setup, State, TrainedTensor, accumulate,
    adapter::TensorShape,
    delta::{Delta, TensorDelta, layer_dims, lora_deltas},
    dense::flat,
    parameter_for, stored,
    targets::select,
};
use crate::{
    Error, Result,
    config::MethodConfig,
    kernel::{self, AdamW, Matrix},
    model::{Adaptation, Parameter, Transformer, weights::Weights},
    rng::Stream,
};

pub(super) const ENTRY: Entry = Entry {
    name: "lora",
    about: "train a low-rank product beside each target weight (arXiv 2106.09685)",
    learning_rate: 2e-3,
    plan: planned,
    start: |setup, transformer| Box::pin(async { Ok(Box::new(Lora::start(setup, transformer)?) as Box<dyn Method>) }),
    deltas: lora_deltas,
};

/// One of the two matrices.
#[derive(Debug)]
struct Factor {
    /// Value and AdamW's moments `[2, len]`; `None` only inside a step.
    trained: Option<(Tensor<2>, Tensor<2>)>,
    leaf: Option<Tensor<2>>,
    grad: Option<Tensor<2>>,
}

/// One target weight.
#[derive(Debug)]
struct LowRank {
    name: String,
    /// Where the weight stands among the model's parameters.
    place: usize,
    shape: Vec<usize>,
    rank: usize,
    scale: f32,
    /// `A` `[R, inputs]` and `B` `[outputs, R]`.
    factors: [Factor; 2],
}

#[derive(Debug)]
struct Lora {
    tensors: Vec<LowRank>,
    dropout: f32,
    seed: u64,
}

/// What an adapter folder records of the method.
#[derive(Serialize, Deserialize)]
struct Settings {
    rank: usize,
    /// `scale * rank`.
    alpha: f64,
    scale: f32,
    tensors: Vec<TensorShape>,
}

/// The hook in one weight.
#[derive(Debug)]
struct LowRankAdaptation {
    a: Tensor<2>,
    b: Tensor<2>,
    scale: f32,
    /// Rate and seed of this pass.
    dropout: Option<(f32, u64)>,
    transposed: bool,
}

impl Adaptation for LowRankAdaptation {
    fn linear(&self, x: Tensor<2>, weight: &Matrix, addend: Option<Tensor<2>>) -> Tensor<2> {
        let frozen = weight.linear(x.clone(), addend, !self.transposed);
        let x = match self.dropout {
            Some((rate, seed)) => kernel::dropout(x, rate, seed),
            None => x,
        };
        kernel::low_rank(frozen, x, self.a.clone(), self.b.clone(), self.scale)
    }

    fn embed(&self, ids: Tensor<1, Int>, weight: &Matrix) -> Tensor<2> {
        weight.rows(ids)
    }

    fn small(&self, weight: &Matrix) -> Tensor<2> {
        weight.dense()
    }
}

/// Names of the two matrices in files.
fn file_names(name: &str) -> [String; 2] {
    [format!("{name}.lora_a"), format!("{name}.lora_b")]
}

impl LowRank {
    /// Puts the two matrices into the weight.
    fn hook(&self, parameter: &mut Parameter, [a, b]: [Tensor<2>; 2], dropout: Option<(f32, u64)>) {
        let (scale, transposed) = (self.scale, parameter.transposed());
        parameter.adaptation = Some(Box::new(LowRankAdaptation { a, b, scale, dropout, transposed }));
    }

    /// Rate and seed of the dropout in a pass.
    fn dropout(&self, rate: f32, seed: u64, pass: u64) -> Option<(f32, u64)> {
        (rate > 0.0).then(|| (rate, Stream::new(seed, &format!("dropout/{}/{pass}", self.name)).bits()))
    }

    fn values(&self) -> [Tensor<2>; 2] {
        self.factors.each_ref().map(|factor| factor.values().0.clone())
    }
}

impl Factor {
    fn new(value: Tensor<2>) -> Self {
        let [rows, cols] = value.dims();
        let moments = Tensor::zeros([2, rows * cols], &value.device());
        Self { trained: Some((value, moments)), leaf: None, grad: None }
    }

    fn values(&self) -> &(Tensor<2>, Tensor<2>) {
        self.trained.as_ref().expect("values are back after every step")
    }
}

/// The targets' default is PEFT's: the query and value projections.
fn names(config: &MethodConfig, transformer: &Transformer) -> Result<Vec<String>> {
    let a = &transformer.architecture;
    let default = if a.fused_qkv { vec![a.names.fused_qkv] } else { vec![a.names.query, a.names.value] };
    let default: Vec<String> = default.into_iter().map(|name| format!("{name}.weight")).collect();
    let asked = !config.target_modules.is_empty() || !config.frozen_modules.is_empty();
    let patterns = if asked { &config.target_modules } else { &default };
    let names = select(transformer, patterns, &config.frozen_modules)?;
    let linear = |name: &String| transformer.parameters().iter().any(|p| p.name == *name && p.is_linear());
    let linear: Vec<String> = names.into_iter().filter(linear).collect();
    if linear.is_empty() {
        return Err(Error::input("--method lora adapts the weights of linear layers, and --target-modules names none"));
    }
    Ok(linear)
}

/// A weight to adapt.
struct Target {
    name: String,
    place: usize,
    shape: Vec<usize>,
    outputs: usize,
    inputs: usize,
}

/// The weights to adapt, all of them large enough for the rank.
fn targets(config: &MethodConfig, transformer: &Transformer) -> Result<Vec<Target>> {
    let (names, rank) = (names(config, transformer)?, config.lora_rank);
    let all = transformer.parameters().into_iter().enumerate();
    let target = |(place, parameter): (usize, &Parameter)| {
        let (name, shape) = (parameter.name.clone(), parameter.dims.clone());
        let [outputs, inputs] = layer_dims(parameter).expect("linear weights are matrices");
        if rank > outputs.min(inputs) {
            return Err(Error::input(format!(
                "--lora-rank {rank}: {name} has shape {shape:?}, so the rank can be at most {}",
                outputs.min(inputs)
            )));
        }
        Ok(Target { name, place, shape, outputs, inputs })
    };
    all.filter(|(_, parameter)| names.contains(&parameter.name)).map(target).collect()
}

fn trained(name: &str, shape: &[usize], rank: usize) -> TrainedTensor {
    TrainedTensor { name: name.into(), shape: shape.to_vec(), trained: rank * shape.iter().sum::<usize>() }
}

fn planned(config: &MethodConfig, initial: &[&TensorDelta], transformer: &Transformer) -> Result<Vec<Planned>> {
    let low_rank =
        |name: &str, shape: &[usize], rank| Planned { tensor: trained(name, shape, rank), means: Means::LowRank(rank) };
    let taken_over = initial.iter().filter_map(|change| match change.delta {
        Delta::LowRank { rank, .. } => Some(low_rank(&change.name, &change.shape, rank)),
        _ => None,
    });
    let taken_over: Vec<Planned> = taken_over.collect();
    if !taken_over.is_empty() {
        return Ok(taken_over);
    }
    let fresh = targets(config, transformer)?;
    Ok(fresh.iter().map(|target| low_rank(&target.name, &target.shape, config.lora_rank)).collect())
}

impl Lora {
    fn start(setup: &mut Setup, transformer: &mut Transformer) -> Result<Self> {
        let (config, device, seed) = (setup.config, setup.device, setup.seed);
        let initial = setup.take_initial(|delta| matches!(delta, Delta::LowRank { .. }));
        let mut tensors = Vec::new();
        if initial.is_empty() {
            let rank = config.lora_rank;
            let root = if config.lora_rs { (rank as f64).sqrt() } else { rank as f64 };
            let scale = (config.lora_alpha / root) as f32;
            for Target { name, place, shape, outputs, inputs } in targets(config, transformer)? {
                // PEFT's kaiming_uniform_(a = sqrt(5)) is uniform within 1 / sqrt(inputs).
                let mut stream = Stream::new(seed, &format!("lora/{name}"));
                let bound = (inputs as f64).sqrt().recip();
                let a = (0..rank * inputs).map(|_| ((2.0 * stream.unit() - 1.0) * bound) as f32).collect();
                let factors =
                    [device.floats(a, [rank, inputs]), device.floats(vec![0.0; outputs * rank], [outputs, rank])];
                tensors.push(LowRank { name, place, shape, rank, scale, factors: factors.map(Factor::new) });
            }
        }
        for TensorDelta { name, shape, delta } in initial {
            let Delta::LowRank { rank, a, b, scale } = delta else { continue };
            let parameter = parameter_for(transformer, &name, &shape)?;
            let Some([outputs, inputs]) = layer_dims(parameter) else {
                return Err(Error::input(format!("{name}: a low-rank change needs a matrix")));
            };
            if a.len() != rank * inputs || b.len() != rank * outputs {
                return Err(Error::input(format!(
                    "{name}: the low-rank matrices of the adapter do not fit the weight"
                )));
            }
            let place = transformer.place(&name).expect("it was found above");
            let factors = [device.floats(a, [rank, inputs]), device.floats(b, [outputs, rank])];
            tensors.push(LowRank { name, place, shape, rank, scale, factors: factors.map(Factor::new) });
        }
        let (rank, scale) = (tensors[0].rank, tensors[0].scale);
        let mut lora = Self { tensors, dropout: setup.config.lora_dropout as f32, seed };
        if lora.tensors.iter().any(|tensor| tensor.rank != rank || tensor.scale != scale) {
            return Err(Error::input(
                "the adapter to go on from has different ranks or scales in different layers, which cannot be trained \
                 further",
            ));
        }
        lora.detach(transformer);
        Ok(lora)
    }
}

impl Method for Lora {
    fn trained(&self) -> Vec<TrainedTensor> {
        self.tensors.iter().map(|tensor| trained(&tensor.name, &tensor.shape, tensor.rank)).collect()
    }

    fn attach(&mut self, transformer: &mut Transformer, pass: u64) {
        let mut parameters = transformer.parameters_mut();
        for tensor in &mut self.tensors {
            let leaves = tensor.values().map(|value| Tensor::from_inner(value).require_grad());
            for (factor, leaf) in tensor.factors.iter_mut().zip(&leaves) {
                factor.leaf = Some(leaf.clone());
            }
            let dropout = tensor.dropout(self.dropout, self.seed, pass);
            tensor.hook(parameters[tensor.place], leaves, dropout);
        }
    }

    fn rehearse(&mut self, transformer: &mut Transformer, pass: u64) {
        let mut parameters = transformer.parameters_mut();
        for tensor in &self.tensors {
            let dropout = tensor.dropout(self.dropout, self.seed, pass);
            tensor.hook(parameters[tensor.place], tensor.values(), dropout);
        }
    }

    fn collect(&mut self, gradients: &mut Gradients) {
        for factor in self.tensors.iter_mut().flat_map(|tensor| &mut tensor.factors) {
            let new = factor.leaf.as_ref().and_then(|leaf| leaf.grad_remove(gradients));
            accumulate(&mut factor.grad, new);
        }
    }

    fn detach(&mut self, transformer: &mut Transformer) {
        let mut parameters = transformer.parameters_mut();
        for tensor in &mut self.tensors {
            for factor in &mut tensor.factors {
                factor.leaf = None;
            }
            tensor.hook(parameters[tensor.place], tensor.values(), None);
        }
    }

    fn gradients(&self) -> Vec<Tensor<1>> {
        let factors = self.tensors.iter().flat_map(|tensor| &tensor.factors);
        factors.filter_map(|factor| factor.grad.clone()).map(flat).collect()
    }

    fn step(&mut self, transformer: &mut Transformer, settings: &AdamW, squared_norm: &Tensor<1>) {
        let mut parameters = transformer.parameters_mut();
        for tensor in &mut self.tensors {
            // In-place steps need the only handle of a value, and the hook holds another.
            parameters[tensor.place].adaptation = None;
            for factor in &mut tensor.factors {
                let Some(grad) = factor.grad.take() else { continue };
                let (value, moments) = factor.trained.take().expect("values are back after every step");
                factor.trained = Some(kernel::dense_step(value, moments, grad, squared_norm.clone(), *settings));
            }
        }
        self.detach(transformer);
    }

    fn state(&self, _transformer: &Transformer) -> State {
        let values = self.tensors.iter().flat_map(|tensor| {
            tensor.factors.iter().zip(file_names(&tensor.name)).flat_map(|(factor, name)| {
                let (value, moments) = factor.values();
                [(name.clone(), flat(value.clone())), (format!("{name}.moments"), flat(moments.clone()))]
            })
        });
        State { values: values.collect(), indices: Vec::new() }
    }

    fn restore(&mut self, transformer: &mut Transformer, state: &Weights) -> Result<()> {
        for tensor in &mut self.tensors {
            for (factor, name) in tensor.factors.iter_mut().zip(file_names(&tensor.name)) {
                let dims = factor.values().0.dims();
                let (len, device) = (dims[0] * dims[1], transformer.device().clone());
                let value = TensorData::new(stored(state, &name, len)?, dims);
                let moments = TensorData::new(stored(state, &format!("{name}.moments"), 2 * len)?, [2, len]);
                factor.trained = Some((Tensor::from_data(value, &device), Tensor::from_data(moments, &device)));
            }
        }
        self.detach(transformer);
        Ok(())
    }

    fn save(&self, _transformer: &Transformer) -> Saved {
        let tensors = self.tensors.iter().map(|t| TensorShape { name: t.name.clone(), shape: t.shape.clone() });
        let (rank, scale) = (self.tensors[0].rank, self.tensors[0].scale);
        let settings = Settings { rank, alpha: f64::from(scale) * rank as f64, scale, tensors: tensors.collect() };
        let values: Vec<NamedTensor> = self
            .tensors
            .iter()
            .flat_map(|tensor| file_names(&tensor.name).into_iter().zip(tensor.values().map(flat)))
            .collect();
        Saved { settings: serde_json::to_value(settings).expect("plain numbers and names"), values, ..Saved::default() }
    }
}
