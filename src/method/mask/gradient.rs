//! Masks by the size of the gradient on the first training batches, as in the SHiRA paper's gradient variant
//! (arXiv 2406.13175). Needs the dense gradient of the target tensors once, before training.

use super::{Entry, largest};
use crate::Error;

pub(super) const ENTRY: Entry = Entry {
    name: "gradient",
    about: "the numbers with the largest gradient on the first batches (SHiRA-Grad)",
    choose: Some(|wanted, transformer, setup| {
        let names: Vec<String> = wanted.iter().map(|(name, _)| name.clone()).collect();
        let calibrate = setup.calibrate.as_mut();
        let calibrate = calibrate.ok_or_else(|| Error::input("--mask gradient needs training data to look at"))?;
        let scores = calibrate(transformer, &names)?;
        Ok(scores.iter().zip(wanted).map(|(scores, (_, count))| largest(scores, *count)).collect())
    }),
};
