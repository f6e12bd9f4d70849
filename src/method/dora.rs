//! DoRA: weight-decomposed low-rank adaptation (Liu et al. 2024, arXiv 2402.09353), as Hugging Face's PEFT 0.21.2 does it.
//!
//! A target layer computes with the weight `W' = m (W + s B A) / ||W + s B A||`, one norm and one trained magnitude `m` an
//! output; the norm is a constant to the gradient (section 4.3). Neither `B A` nor `W'` is formed: the norm comes from
//! `||W + s B A||^2 = ||W||^2 + 2 s sum_r B * (W A^T) + s^2 sum_r B * (B A A^T)`, sums over each output's row.

use std::sync::Arc;

use burn::tensor::Tensor;
use serde_json::{Value, json};

use super::{
    adapter::{Adapter, TensorShape},
    change::{Change, HookChange, TensorChange},
    description::{Description, Setup},
    entry::{Budget, MethodEntry},
    hook::{ComputedWeight, Hook, HookedParameter, LayerChange, Leaf, Pass},
    low_rank::{self, LowRank, LowRankSettings, Pair},
    trainable::{MethodTensor, Start},
};
use crate::{
    Result,
    device::ComputeDevice,
    kernel,
    model::{LinearCall, Parameter, Transformer},
};

pub(super) const METHOD: MethodEntry = MethodEntry {
    name: "dora",
    about: "train direction (low-rank) and magnitude of each target weight (arXiv 2402.09353)",
    learning_rate: 2e-3,
    settings: low_rank::SETTINGS,
    budget: Some(Budget::Steps { shown: "lora_rank" }),
    describe,
    changes,
};

/// Name of the magnitudes behind that of the weight.
const MAGNITUDE: &str = "magnitude";

/// The layer of one target; reads `A`, `B`, `m` `[1, outputs]` and `||W||^2` `[1, outputs]`.
#[derive(Debug)]
struct DoraLayer {
    weight: String,
    rank: usize,
    scale: f32,
    /// Probability.
    dropout: f32,
}

impl Hook for DoraLayer {
    fn linear(&self, layer: LinearCall<'_>, leaves: &[Tensor<2>], pass: Pass) -> Tensor<2> {
        let [a, b, magnitude, squared_norms] = leaves else { unreachable!("DoRA reads four matrices") };
        let norm = self.norm(&layer, a.clone().detach(), b.clone().detach(), squared_norms.clone());
        let factor = magnitude.clone() / norm;
        let directed = |x: Tensor<2>, frozen| kernel::low_rank(frozen, x, a.clone(), b.clone(), self.scale) * factor;
        match low_rank::dropout(&self.weight, self.dropout, pass) {
            // W x + (m / norm - 1) W x' + m / norm s B A x' with x' from the dropout.
            Some((probability, seed)) => {
                let x = kernel::dropout(layer.x.clone(), probability, seed);
                let frozen = layer.product(x.clone());
                let change = directed(x, frozen.clone()) - frozen;
                layer.plain() + change
            }
            None => {
                let y = directed(layer.x.clone(), layer.product(layer.x.clone()));
                [layer.bias, layer.residual].into_iter().flatten().fold(y, |y, added| added + y)
            }
        }
    }
}

impl LayerChange for DoraLayer {
    fn fits(&self, [outputs, inputs]: [usize; 2], leaves: &[Leaf]) -> bool {
        matches!(leaves, [(_, [rank, ins], _), (_, [outs, again], _), (_, [1, magnitudes], _)]
            if rank == again && *ins == inputs && *outs == outputs && *magnitudes == outputs)
    }

    fn settings(&self) -> Value {
        json!({ "rank": self.rank, "alpha": f64::from(self.scale) * self.rank as f64, "scale": self.scale })
    }

    fn as_weight(&self) -> Option<&dyn ComputedWeight> {
        Some(self)
    }
}

impl DoraLayer {
    /// `||W + s B A||` of each output `[1, outputs]`, for `A` `[R, inputs]` and `B` `[outputs, R]`.
    fn norm(&self, layer: &LinearCall<'_>, a: Tensor<2>, b: Tensor<2>, squared_norms: Tensor<2>) -> Tensor<2> {
        let of_a = layer.product(a.clone());
        let gram = a.clone().matmul(a.transpose());
        let both =
            of_a.transpose().mul_scalar(2.0 * self.scale) + b.clone().matmul(gram).mul_scalar(self.scale.powi(2));
        // Rounding must not make a norm of nearly nothing negative.
        ((b * both).sum_dim(1).transpose() + squared_norms).clamp_min(0.0).sqrt()
    }
}

impl ComputedWeight for DoraLayer {
    fn merged(&self, weight: Tensor<2>, leaves: &[Tensor<2>]) -> Tensor<2> {
        let [a, b, magnitude] = leaves else { unreachable!("DoRA's adapters hold three matrices") };
        let directed = weight + b.clone().matmul(a.clone()).mul_scalar(self.scale);
        let norm = (directed.clone() * directed.clone()).sum_dim(1).sqrt();
        directed * (magnitude.clone().transpose() / norm)
    }
}

/// Rows of a weight that are decoded at once.
const PIECE: usize = 1024;

/// `||W||^2` of each output of a weight `[1, outputs]`, some stored rows at a time.
fn squared_norms(weight: &Parameter, device: &ComputeDevice) -> Tensor<2> {
    let [rows, _] = weight.matrix_dims();
    let piece = |first: usize| {
        let ids = (first..rows.min(first + PIECE)).map(|row| row as i32).collect();
        let values = weight.value().rows(device.integers(ids));
        let squares = values.clone() * values;
        if weight.transposed() { squares.sum_dim(0) } else { squares.sum_dim(1).transpose() }
    };
    let pieces = (0..rows).step_by(PIECE).map(piece);
    if weight.transposed() {
        pieces.reduce(|sum, piece| sum + piece).expect("weights have rows")
    } else {
        Tensor::cat(pieces.collect(), 1)
    }
}

/// What an adapter changes of a weight, from its three matrices.
pub(super) fn change(weight: &str, rank: usize, scale: f32, [a, b, magnitude]: [Vec<f32>; 3]) -> Change {
    let (inputs, outputs) = (a.len() / rank, b.len() / rank);
    let leaves = vec![
        (low_rank::A, [rank, inputs], a),
        (low_rank::B, [outputs, rank], b),
        (MAGNITUDE, [1, magnitude.len()], magnitude),
    ];
    let hook = Arc::new(DoraLayer { weight: weight.into(), rank, scale, dropout: 0.0 });
    Change::Hook(HookChange { method: METHOD.name, hook, leaves })
}

/// Rank, scale and the three matrices of a change that [`change`] made.
pub(super) fn parts(change: &Change) -> Option<(usize, f32, [&[f32]; 3])> {
    let Change::Hook(hooked) = change else { return None };
    let [(_, [rank, _], a), (.., b), (.., magnitude)] = &hooked.leaves[..] else { return None };
    Some((*rank, hooked.layer::<DoraLayer>()?.scale, [a, b, magnitude]))
}

fn describe(setup: &mut Setup, transformer: &Transformer) -> Result<Description> {
    let (mut pairs, mut magnitudes) = (Vec::new(), Vec::new());
    for TensorChange { name, shape, change } in setup.take_initial(|change| parts(&change.change).is_some()) {
        let Some((rank, scale, [a, b, magnitude])) = parts(&change) else { continue };
        let factors = [a, b].map(<[f32]>::to_vec);
        pairs.push(Pair::continued(TensorShape { name, shape }, rank, scale, factors, transformer)?);
        magnitudes.push(Start::Values(magnitude.to_vec()));
    }
    if pairs.is_empty() {
        pairs = Pair::fresh(METHOD.name, setup, transformer)?;
        magnitudes = pairs.iter().map(|pair| of_weight(pair, |w, device| squared_norms(w, device).sqrt())).collect();
    }
    let settings = LowRankSettings::of(&pairs)?;
    let (mut tensors, mut hooks) = (Vec::new(), Vec::new());
    for (pair, magnitude) in pairs.into_iter().zip(magnitudes) {
        let (weight, dims, at) = (pair.weight.name.clone(), [1, pair.outputs], tensors.len());
        let dropout = setup.config.lora_dropout as f32;
        let hook = Arc::new(DoraLayer { weight: weight.clone(), rank: pair.rank, scale: pair.scale, dropout });
        let norms = of_weight(&pair, squared_norms);
        tensors.extend(pair.tensors());
        tensors.push(MethodTensor::own(format!("{weight}.{MAGNITUDE}"), dims, magnitude));
        tensors.push(MethodTensor::frozen(format!("{weight}.squared_norms"), dims, norms));
        hooks.push(HookedParameter { parameter: weight, hook, reads: (at..at + 4).collect() });
    }
    Ok(Description { tensors, hooks, method: Box::new(LowRank(settings)) })
}

/// A start that is computed from the pair's weight.
fn of_weight(pair: &Pair, compute: fn(&Parameter, &ComputeDevice) -> Tensor<2>) -> Start {
    Start::OfWeight { parameter: pair.weight.name.clone(), compute }
}

fn changes(adapter: &Adapter) -> Result<Vec<TensorChange>> {
    let settings = LowRankSettings::read(adapter)?;
    let (rank, scale) = (settings.rank, settings.scale);
    settings.changes(adapter, [low_rank::A, low_rank::B, MAGNITUDE], |weight, matrices| {
        change(&weight.name, rank, scale, matrices)
    })
}
