//! LoRA: low-rank adaptation (Hu et al. 2021, arXiv 2106.09685), and its rank-stabilised scaling (rsLoRA,
//! arXiv 2312.03732).
//!
//! A target layer computes `y = x W^T + scale * (x A^T) B^T` with a frozen `W`: the product `B A` is never formed, and no
//! gradient has the shape of a weight.

use std::sync::Arc;

use burn::tensor::Tensor;

use super::{
    adapter::{Adapter, TensorShape},
    change::{Change, TensorChange},
    description::{Description, Setup},
    entry::{Budget, MethodEntry},
    hook::{Hook, HookedParameter, Pass},
    low_rank::{self, LowRank, LowRankSettings, Pair},
};
use crate::{
    Result, kernel,
    model::{LinearCall, Transformer},
};

pub(super) const METHOD: MethodEntry = MethodEntry {
    name: "lora",
    about: "train a low-rank product beside each target weight (arXiv 2106.09685)",
    learning_rate: 2e-3,
    settings: low_rank::SETTINGS,
    budget: Some(Budget::Steps { shown: "lora_rank" }),
    describe,
    changes,
};

/// The layer of one target; reads `A` and `B`.
#[derive(Debug)]
struct LoraLayer {
    weight: String,
    scale: f32,
    /// Probability.
    dropout: f32,
}

impl Hook for LoraLayer {
    fn linear(&self, layer: LinearCall<'_>, leaves: &[Tensor<2>], pass: Pass) -> Tensor<2> {
        let [a, b] = leaves else { unreachable!("LoRA reads two matrices") };
        let transposed = layer.transposed;
        layer.with_added(|x, weight, added| {
            let frozen = weight.linear(x.clone(), added, !transposed);
            let x = match low_rank::dropout(&self.weight, self.dropout, pass) {
                Some((probability, seed)) => kernel::dropout(x, probability, seed),
                None => x,
            };
            kernel::low_rank(frozen, x, a.clone(), b.clone(), self.scale)
        })
    }
}

fn describe(setup: &mut Setup, transformer: &Transformer) -> Result<Description> {
    let initial = setup.take_initial(|change| matches!(change.change, Change::LowRank { .. }));
    let mut pairs = Vec::new();
    for TensorChange { name, shape, change } in initial {
        let Change::LowRank { rank, a, b, scale } = change else { continue };
        pairs.push(Pair::continued(TensorShape { name, shape }, rank, scale, [a, b], transformer)?);
    }
    if pairs.is_empty() {
        pairs = Pair::fresh(METHOD.name, setup, transformer)?;
    }
    let settings = LowRankSettings::of(&pairs)?;
    let (mut tensors, mut hooks) = (Vec::new(), Vec::new());
    for pair in pairs {
        let (weight, dropout) = (pair.weight.name.clone(), setup.config.lora_dropout as f32);
        let hook = Arc::new(LoraLayer { weight: weight.clone(), scale: pair.scale, dropout });
        let at = tensors.len();
        hooks.push(HookedParameter { parameter: weight, hook, reads: vec![at, at + 1] });
        tensors.extend(pair.tensors());
    }
    Ok(Description { tensors, hooks, method: Box::new(LowRank(settings)) })
}

fn changes(adapter: &Adapter) -> Result<Vec<TensorChange>> {
    let settings = LowRankSettings::read(adapter)?;
    let (rank, scale) = (settings.rank, settings.scale);
    settings.changes(adapter, [low_rank::A, low_rank::B], |_, [a, b]| Change::LowRank { rank, a, b, scale })
}
