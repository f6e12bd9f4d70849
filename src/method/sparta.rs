//! SpaRTA: sparse random parameter adaptation (arXiv 2502.15975).
//!
//! A random few entries of the target tensors are trained as deltas on their pretrained values; everything else stays
//! frozen. The weights hold `base + delta` at all times, so the forward pass costs what inference costs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    adapter::Adapter,
    change::{Change, TensorChange},
    description::{Description, Method, Pending, Setup},
    entry::{Budget, MethodEntry},
    mask::{self, MaskEntry, drawn::MaskSettings},
    plan::plan,
    tensors::{delta_name, indices_name},
    trainable::{Mask, MethodTensor, Place, Start},
};
use crate::{Error, Result, event::TrainedTensor, model::Transformer};

pub(super) const METHOD: MethodEntry = MethodEntry {
    name: "sparta",
    about: "train a random sparse part of the weights (arXiv 2502.15975)",
    learning_rate: 5e-3,
    settings: &[
        "sparsity",
        "density",
        "trainable_parameters",
        "mask",
        "target_modules",
        "frozen_modules",
        "trainable_tokens",
        "explicit_indices",
    ],
    budget: Some(Budget::Exact { shown: "sparsity", counted: "trainable_parameters" }),
    describe,
    changes,
};

/// What an adapter folder records of the method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpartaSettings {
    seed: u64,
    /// Share of the whole model that is frozen.
    sparsity: f64,
    tensors: Vec<MaskSettings>,
    /// Whether the masks are those of the seed, or must be read from the file.
    drawn_from_seed: bool,
}

#[derive(Debug)]
struct Sparta {
    settings: SpartaSettings,
    explicit_indices: bool,
    mask: &'static MaskEntry,
}

fn describe(setup: &mut Setup, transformer: &Transformer) -> Result<Description> {
    let mask = mask::find(&setup.config.mask)?;
    let initial = setup.take_initial(|change| matches!(change.change, Change::Sparse { .. }));
    let fresh = initial.is_empty();
    let (tensors, masks): (Vec<_>, Vec<_>) = if fresh {
        let mut masks = plan(setup.config, transformer)?;
        if mask.choose.is_some() && masks.iter().any(|mask| !mask.rows.is_empty()) {
            return Err(Error::input(format!("--trainable-tokens goes with --mask random, not {}", mask.name)));
        }
        masks.retain(|mask| mask.trained() > 0);
        let entries = |settings: MaskSettings| {
            let chosen = match mask.choose {
                None => Mask::Drawn(settings.clone(), setup.seed),
                Some(_) => Mask::Later(settings.trained()),
            };
            (MethodTensor::entries(&settings.name, chosen), settings)
        };
        masks.into_iter().map(entries).unzip()
    } else {
        // The masks and deltas of an adapter.
        initial.into_iter().filter_map(continued).unzip()
    };
    let trained: usize = masks.iter().map(MaskSettings::trained).sum();
    let settings = SpartaSettings {
        seed: if fresh { setup.seed } else { 0 },
        sparsity: 1.0 - trained as f64 / transformer.parameter_count() as f64,
        tensors: masks,
        drawn_from_seed: fresh && mask.choose.is_none(),
    };
    let explicit_indices = setup.config.explicit_indices;
    Ok(Description { tensors, hooks: Vec::new(), method: Box::new(Sparta { settings, explicit_indices, mask }) })
}

/// The entries that a change trains further; none of a change without any.
fn continued(TensorChange { name, shape, change }: TensorChange) -> Option<(MethodTensor, MaskSettings)> {
    let Change::Sparse { indices, values } = change else { return None };
    let settings = MaskSettings { name: name.clone(), shape, drawn: indices.len(), rows: Vec::new() };
    let place = Place::Entries(Mask::Given(indices));
    (settings.drawn > 0).then_some((MethodTensor { name, place, start: Start::Values(values) }, settings))
}

impl Method for Sparta {
    fn settings(&self, _tensors: &[TrainedTensor]) -> Value {
        serde_json::to_value(&self.settings).expect("plain numbers and names")
    }

    fn explicit_indices(&self) -> bool {
        self.explicit_indices
    }

    /// Chooses the masks that the seed does not give.
    fn prepare<'a>(
        &'a self,
        tensors: &'a mut [MethodTensor],
        transformer: &'a mut Transformer,
        setup: &'a Setup<'_>,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            let later = |tensor: &MethodTensor| match &tensor.place {
                Place::Entries(Mask::Later(count)) => Some((tensor.name.clone(), *count)),
                _ => None,
            };
            let wanted: Vec<_> = tensors.iter().filter_map(later).collect();
            let Some(choose) = self.mask.choose.filter(|_| setup.state.is_none() && !wanted.is_empty()) else {
                return Ok(());
            };
            for ((name, _), indices) in wanted.iter().zip(choose(&wanted, transformer, setup).await?) {
                let tensor = tensors.iter_mut().find(|tensor| tensor.name == *name).expect("it is one of them");
                tensor.place = Place::Entries(Mask::Given(indices));
            }
            Ok(())
        })
    }
}

/// What an adapter adds: its deltas at its indices, which are stored or drawn again from the seed.
fn changes(adapter: &Adapter) -> Result<Vec<TensorChange>> {
    let settings: SpartaSettings = adapter.settings()?;
    let read = |mask: MaskSettings| {
        let rows_fit = mask.rows.windows(2).all(|pair| pair[0] < pair[1])
            && mask.rows.last().is_none_or(|&row| mask.shape.first().is_some_and(|&rows| (row as usize) < rows));
        if !rows_fit || mask.rows.len() * mask.width() + mask.drawn.min(mask.len() + 1) > mask.len() {
            return Err(adapter.error(format!("the mask of {} does not fit its shape", mask.name)));
        }
        let stored = indices_name(&mask.name);
        let indices = match adapter.weights.dims(&stored) {
            Some(_) => adapter.weights.indices(&stored)?,
            None if settings.drawn_from_seed => mask.indices(settings.seed),
            None => return Err(adapter.error(format!("{stored} is missing"))),
        };
        let values = adapter.weights.floats(&delta_name(&mask.name)).map_err(|e| adapter.error(e))?;
        Ok(TensorChange { name: mask.name, shape: mask.shape, change: Change::Sparse { indices, values } })
    };
    settings.tensors.into_iter().map(read).collect()
}
