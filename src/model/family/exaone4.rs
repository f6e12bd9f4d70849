//! EXAONE 4 (LG AI Research 2025): norms behind the sub-layers, queries and keys normalised head by head; where some blocks
//! have a window, the others have no rotary positions.

use serde_json::Value;

use super::{llama, olmo2, spec::Family};
use crate::{
    Result,
    model::{
        architecture::{Architecture, NormPlacement, QkNorm},
        fields::Fields,
    },
};

/// The family.
pub(super) static EXAONE4: Family =
    Family { model_type: "exaone4", class: "Exaone4", describe, ignored: &[], left_over: &[], gguf: None };

/// Reads the fields of transformers' `Exaone4Config`, with its defaults.
fn describe(fields: &Fields) -> Result<Architecture> {
    let mut architecture = Architecture {
        names: &olmo2::NAMES,
        norm_eps: fields.number_or("rms_norm_eps", 1e-5)?,
        qk_norm: Some(QkNorm::Head),
        ..llama::describe(fields)?
    };
    // A number, or a letter a block, of which the last one is that of a block without a window.
    let period = match fields.get("sliding_window_pattern") {
        Some(Value::String(letters)) => letters.len().max(1),
        _ => fields.size_or("sliding_window_pattern", Some(4))?,
    };
    let window = fields.size_or("sliding_window", Some(usize::MAX))?;
    let sliding = fields.sliding_layers(architecture.layers(), |layer| !(layer + 1).is_multiple_of(period))?;
    for (block, sliding) in architecture.blocks.iter_mut().zip(sliding) {
        *block = block.with_norms(NormPlacement::AFTER);
        if window != usize::MAX {
            block.window = sliding.then_some(window);
            block.rope = sliding.then_some(0);
        }
    }
    Ok(architecture)
}
