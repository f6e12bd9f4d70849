//! Loss on a validation set.

use burn::tensor::Tensor;

use super::objective::Prepared;
use crate::{
    Result,
    data::{Batch, Split, sequential},
    device::{self, ComputeDevice},
    model::Transformer,
};

/// Rows are padded to a multiple of this, so that few different shapes occur.
pub const ROUND_TO: usize = 8;
/// Batches whose losses are queued before they are read.
const IN_FLIGHT: usize = 16;

/// Figures of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// Mean loss over all target tokens, in nats.
    pub loss: f64,
    /// `exp(loss)`.
    pub perplexity: f64,
    /// Target tokens judged.
    pub target_tokens: usize,
    /// Rows judged.
    pub rows: usize,
}

/// Mean loss over the target tokens of `split` (not a mean of batch means), over at most `max_batches` batches (0: all).
///
/// # Errors
/// The device failed.
pub async fn evaluate(
    transformer: &Transformer,
    split: &Split,
    batch_size: usize,
    max_batches: usize,
    pad_id: u32,
    device: &ComputeDevice,
) -> Result<Evaluation> {
    let mut batches = sequential(&split.lengths(), batch_size)?;
    if max_batches > 0 && batches.len() > max_batches {
        // Evenly spread, because the batches are in order of length.
        let all = batches.len();
        batches = (0..max_batches).map(|k| std::mem::take(&mut batches[k * all / max_batches])).collect();
    }
    let (mut sum, mut target_tokens, mut rows) = (0.0f64, 0, 0);
    for chunk in batches.chunks(IN_FLIGHT) {
        let mut losses = Vec::new();
        for selected in chunk {
            let batch = Batch::assemble(split, selected, pad_id, ROUND_TO, transformer.architecture.max_positions);
            let batch = Prepared::new(&batch, transformer, device);
            target_tokens += batch.target_tokens;
            rows += selected.len();
            losses.push(batch.loss_sum(transformer, transformer.hidden(batch.ids.clone(), &batch.layout)));
        }
        sum += device::read(Tensor::cat(losses, 0)).await?.iter().map(|&loss| f64::from(loss)).sum::<f64>();
    }
    let loss = sum / target_tokens.max(1) as f64;
    Ok(Evaluation { loss, perplexity: loss.exp(), target_tokens, rows })
}
