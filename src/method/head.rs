//! Only the head is trained: the least that fine-tuning can be, and a yardstick for the other methods.

use super::{
    Entry, Method,
    dense::{self, DenseTensors},
};
use crate::{
    Error, Result,
    model::{Transformer, head::Head},
};

pub(super) const ENTRY: Entry = Entry {
    name: "head",
    about: "train only the head: of a classifier, or a language model's own",
    learning_rate: 1e-2,
    plan: |_config, _initial, transformer| Ok(dense::planned(transformer, &names(transformer)?)),
    start: |_setup, transformer| {
        Box::pin(async {
            let names = names(transformer)?;
            Ok(Box::new(DenseTensors::new(transformer, &names)) as Box<dyn Method>)
        })
    },
    deltas: dense::deltas,
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
