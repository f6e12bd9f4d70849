//! Full fine-tuning: every number of the target tensors is trained.

use super::{
    Entry, Method, Setup,
    delta::Delta,
    dense::{self, DenseTensors},
    replace, targets,
};
use crate::{Result, config::MethodConfig, model::Transformer};

pub(super) const ENTRY: Entry = Entry {
    name: "full",
    about: "train every weight (or every weight of --target-modules)",
    learning_rate: 1e-3,
    plan: |config, _initial, transformer| Ok(dense::planned(transformer, &names(config, transformer)?)),
    start: |setup, transformer| Box::pin(async { Ok(Box::new(start(setup, transformer)?) as Box<dyn Method>) }),
    deltas: dense::deltas,
};

fn names(config: &MethodConfig, transformer: &Transformer) -> Result<Vec<String>> {
    targets::select(transformer, &config.target_modules, &config.frozen_modules)
}

fn start(setup: &mut Setup, transformer: &mut Transformer) -> Result<DenseTensors> {
    for change in setup.take_initial(|delta| matches!(delta, Delta::Replace(_))) {
        let Delta::Replace(values) = change.delta else { continue };
        replace(transformer, &change.name, &change.shape, values, setup.device)?;
    }
    let names = names(setup.config, transformer)?;
    Ok(DenseTensors::new(transformer, &names))
}
