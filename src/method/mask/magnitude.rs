//! Masks by the size of the pretrained entries, as in the SHiRA paper's weight-magnitude variant (arXiv 2406.13175).

use super::entry::{MaskEntry, largest};
use crate::{Result, model::Transformer};

pub(super) const LOW: MaskEntry = MaskEntry {
    name: "magnitude-low",
    about: "the entries nearest to zero",
    choose: Some(|wanted, transformer, _setup| Box::pin(choose(wanted, transformer, -1.0))),
};

pub(super) const HIGH: MaskEntry = MaskEntry {
    name: "magnitude-high",
    about: "the entries farthest from zero (SHiRA-WM)",
    choose: Some(|wanted, transformer, _setup| Box::pin(choose(wanted, transformer, 1.0))),
};

async fn choose(wanted: &[(String, usize)], transformer: &mut Transformer, sign: f32) -> Result<Vec<Vec<u32>>> {
    let mut masks = Vec::new();
    for (name, count) in wanted {
        let parameter = transformer.parameter_mut(name).expect("masks name parameters of the model");
        let values = parameter.value().read().await?;
        let scores: Vec<f32> = values.into_iter().map(|value| sign * value.abs()).collect();
        masks.push(largest(&scores, *count));
    }
    Ok(masks)
}
