//! Pairs of low-rank matrices beside weights, as the methods of LoRA's kind have them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    adapter::{Adapter, TensorShape},
    change::{Change, TensorChange, layer_dims},
    description::{Method, Setup},
    hook::Pass,
    targets::{self, Target},
    trainable::{MethodTensor, Start},
};
use crate::{
    Error, Result,
    event::TrainedTensor,
    model::{Parameter, Role, Transformer},
};

/// Names of `A` and `B` behind that of their weight, in files.
pub(super) const A: &str = "lora_a";
pub(super) const B: &str = "lora_b";

/// Settings that say where the pairs are and how they are scaled.
pub(super) const SETTINGS: &[&str] =
    &["lora_rank", "lora_alpha", "lora_dropout", "lora_rs", "target_modules", "frozen_modules"];

/// A pair of one weight: `A` `[R, inputs]` and `B` `[outputs, R]`.
pub(super) struct Pair {
    /// Name and shape of the weight.
    pub weight: TensorShape,
    pub rank: usize,
    pub outputs: usize,
    pub inputs: usize,
    /// `alpha / R`, or `alpha / sqrt(R)` for rsLoRA.
    pub scale: f32,
    a: Start,
    b: Start,
}

/// What an adapter folder records.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LowRankSettings {
    pub rank: usize,
    /// `scale * rank`.
    pub alpha: f64,
    pub scale: f32,
    pub tensors: Vec<TensorShape>,
}

/// What methods with such pairs record.
#[derive(Debug)]
pub(super) struct LowRank(pub LowRankSettings);

impl Method for LowRank {
    fn settings(&self, _tensors: &[TrainedTensor]) -> Value {
        serde_json::to_value(&self.0).expect("plain numbers and names")
    }
}

impl Pair {
    /// Fresh pairs for the targets of `method`, queries and values by default. `A` starts uniform and `B` at zero, as in
    /// Hugging Face's PEFT, whose `kaiming_uniform_(a = sqrt(5))` is uniform within `1 / sqrt(inputs)`.
    ///
    /// # Errors
    /// No targets, or a target smaller than the rank.
    pub(super) fn fresh(method: &str, setup: &Setup, transformer: &Transformer) -> Result<Vec<Self>> {
        let (config, rank) = (setup.config, setup.config.lora_rank);
        let root = if config.lora_rs { (rank as f64).sqrt() } else { rank as f64 };
        let scale = (config.lora_alpha / root) as f32;
        let pair = |Target { name, shape, outputs, inputs }| {
            if rank > outputs.min(inputs) {
                return Err(Error::input(format!(
                    "--lora-rank {rank}: {name} has shape {shape:?}, so the rank can be at most {}",
                    outputs.min(inputs)
                )));
            }
            let a = Start::Uniform { stream: format!("lora/{name}"), bound: (inputs as f64).sqrt().recip() };
            Ok(Self { weight: TensorShape { name, shape }, rank, outputs, inputs, scale, a, b: Start::Zeros })
        };
        let targets = targets::linear(method, config, &targets::queries_and_values(transformer), transformer)?;
        targets.into_iter().map(pair).collect()
    }

    /// The pair of an adapter to start from.
    ///
    /// # Errors
    /// A tensor that the model does not have or that is no matrix.
    pub(super) fn continued(
        weight: TensorShape,
        rank: usize,
        scale: f32,
        [a, b]: [Vec<f32>; 2],
        transformer: &Transformer,
    ) -> Result<Self> {
        let parameters = transformer.parameters();
        let name = &weight.name;
        let found = parameters.iter().find(|parameter| parameter.name == *name);
        let layer = |parameter: &&&Parameter| parameter.is_linear() || parameter.role == Role::Head;
        let dims = found.filter(layer).and_then(|parameter| layer_dims(parameter));
        let Some([outputs, inputs]) = dims else {
            return Err(Error::input(format!(
                "{name} is no weight of a linear layer, and the adapter to start from changes it by low-rank matrices"
            )));
        };
        Ok(Self { weight, rank, outputs, inputs, scale, a: Start::Values(a), b: Start::Values(b) })
    }

    /// The two matrices of the pair.
    pub(super) fn tensors(self) -> [MethodTensor; 2] {
        let Self { weight, rank, outputs, inputs, a, b, .. } = self;
        [
            MethodTensor::own(format!("{}.{A}", weight.name), [rank, inputs], a),
            MethodTensor::own(format!("{}.{B}", weight.name), [outputs, rank], b),
        ]
    }
}

impl LowRankSettings {
    /// Those of some pairs.
    ///
    /// # Errors
    /// Pairs of different ranks or scales, which the layout of adapters does not know.
    pub(super) fn of(pairs: &[Pair]) -> Result<Self> {
        let (rank, scale) = (pairs[0].rank, pairs[0].scale);
        if pairs.iter().any(|pair| pair.rank != rank || pair.scale != scale) {
            return Err(Error::input(
                "the adapter to start from has different ranks or scales in different layers, which cannot be trained \
                 further",
            ));
        }
        let tensors = pairs.iter().map(|pair| pair.weight.clone()).collect();
        Ok(Self { rank, alpha: f64::from(scale) * rank as f64, scale, tensors })
    }

    /// Those of an adapter.
    ///
    /// # Errors
    /// Settings that are not those of low-rank matrices.
    pub(super) fn read(adapter: &Adapter) -> Result<Self> {
        let settings: Self = adapter.settings()?;
        if settings.rank == 0 || !settings.scale.is_finite() {
            return Err(adapter.error(format!(
                "adapter.json: rank {} and scale {} do not describe a low-rank adapter",
                settings.rank, settings.scale
            )));
        }
        Ok(settings)
    }

    /// The changes of the adapter, each made from the weight and the values of the matrices with these names.
    ///
    /// # Errors
    /// A matrix that is missing.
    pub(super) fn changes<const N: usize>(
        &self,
        adapter: &Adapter,
        names: [&str; N],
        change: impl Fn(&TensorShape, [Vec<f32>; N]) -> Change,
    ) -> Result<Vec<TensorChange>> {
        let read = |tensor: &TensorShape| {
            let mut values = [const { Vec::new() }; N];
            for (values, part) in values.iter_mut().zip(names) {
                *values = adapter.weights.floats(&format!("{}.{part}", tensor.name)).map_err(|e| adapter.error(e))?;
            }
            let change = change(tensor, values);
            Ok(TensorChange { name: tensor.name.clone(), shape: tensor.shape.clone(), change })
        };
        self.tensors.iter().map(read).collect()
    }
}

/// Probability and seed of the dropout on the input of a pair in a pass; none in evaluation.
pub(super) fn dropout(weight: &str, probability: f32, pass: Pass) -> Option<(f32, u64)> {
    let mut stream = pass.stream(&format!("dropout/{weight}")).filter(|_| probability > 0.0)?;
    Some((probability, stream.bits()))
}
