//! The model of a run from its description alone.

use crate::{
    config::{RunConfig, Task},
    model::{Architecture, Transformer, head::HeadKind},
};

/// The head that the model of a run has. Where the classes are not known there are two.
pub(super) fn head(config: &RunConfig, classes: usize) -> HeadKind {
    match config.task {
        Task::CausalLm => HeadKind::LanguageModel,
        Task::Classify => HeadKind::Classifier(classes.max(2)),
    }
}

/// The model of a run without values. Where the classes are not known there are two.
pub fn outline(config: &RunConfig, architecture: &Architecture, classes: usize) -> Transformer {
    Transformer::outline(architecture.clone(), head(config, classes))
}
