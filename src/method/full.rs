//! Full fine-tuning: every entry of the target tensors is trained.

use super::{description::Description, entry::MethodEntry, targets, whole};

pub(super) const METHOD: MethodEntry = MethodEntry {
    name: "full",
    about: "train every weight (or every weight of --target-modules)",
    learning_rate: 1e-3,
    settings: &["target_modules", "frozen_modules"],
    budget: None,
    describe: |setup, transformer| {
        let config = setup.config;
        targets::select(transformer, &config.target_modules, &config.frozen_modules).map(Description::of_whole)
    },
    changes: whole::changes,
};
