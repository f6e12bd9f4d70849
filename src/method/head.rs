//! Only the head is trained: the least that fine-tuning can be, and a yardstick for the other methods.

use super::{description::Description, entry::MethodEntry, whole};
use crate::{
    Error, Result,
    model::{Transformer, head::Head},
};

pub(super) const METHOD: MethodEntry = MethodEntry {
    name: "head",
    about: "train only the head: of a classifier, or a language model's own",
    learning_rate: 1e-2,
    settings: &[],
    budget: None,
    describe: |_, transformer| names(transformer).map(Description::of_whole),
    changes: whole::changes,
};

fn names(transformer: &Transformer) -> Result<Vec<String>> {
    match &transformer.head {
        Head::Classifier(_) => Ok(transformer.head.classifier_names()),
        Head::Vocabulary(weight) => Ok(vec![weight.name.clone()]),
        Head::Tied => Err(Error::input(
            "--method head: the head of this model is its embedding table, which is more than a head; use --task \
             classify, or --method full --target-modules with the table's name",
        )),
    }
}
