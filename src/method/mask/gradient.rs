//! Masks by the size of the gradient on the first training batches, as in the SHiRA paper's gradient variant
//! (arXiv 2406.13175). Needs the dense gradient of the target tensors once, before training.

use super::entry::{MaskEntry, largest};
use crate::{
    Error, Result,
    method::{description::Setup, whole::bindable},
    model::Transformer,
};

pub(super) const ENTRY: MaskEntry = MaskEntry {
    name: "gradient",
    about: "the entries with the largest gradient on the first batches (SHiRA-Grad)",
    choose: Some(|wanted, transformer, setup| Box::pin(choose(wanted, transformer, setup))),
};

async fn choose(wanted: &[(String, usize)], transformer: &mut Transformer, setup: &Setup<'_>) -> Result<Vec<Vec<u32>>> {
    let names: Vec<String> = wanted.iter().map(|(name, _)| name.clone()).collect();
    let purpose = ["to be chosen from by its gradient", "take another --mask, "];
    bindable(names.iter().map(|name| &name[..]), transformer, setup.device, purpose)?;
    let data = setup.calibrate.ok_or_else(|| Error::input("--mask gradient needs training data to look at"))?;
    let scores = data.gradients(transformer, &names).await?;
    Ok(scores.iter().zip(wanted).map(|(scores, (_, count))| largest(scores, *count)).collect())
}
