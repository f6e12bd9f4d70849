//! Loss on a validation set, and how well a classifier does there.

use burn::tensor::Tensor;

use super::{classification::Classification, objective::Prepared};
use crate::{
    Result,
    data::{Batch, Split, sequential},
    device::{self, ComputeDevice},
    model::{Pretrained, Transformer, head::Head},
};

/// Rows are padded to a multiple of this, so that few different shapes occur.
pub const ROUND_TO: usize = 8;
/// Batches whose losses are queued before they are read.
const IN_FLIGHT: usize = 16;

/// Figures of an evaluation.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// Mean loss over all target tokens (of a classifier: over all rows), in nats.
    pub loss: f64,
    /// `exp(loss)`.
    pub perplexity: f64,
    /// Predictions evaluated: target tokens, or rows of a classifier.
    pub target_tokens: usize,
    /// Rows evaluated.
    pub rows: usize,
    /// How well a classifier does; `None` for a language model.
    #[serde(flatten)]
    pub classification: Option<Classification>,
}

/// The sum of the losses of a batch `[1]`; of a classifier the logits of its rows, one row after the other.
pub(super) fn forward(transformer: &Transformer, batch: &Prepared) -> Tensor<1> {
    let hidden = transformer.hidden(batch.ids.clone(), &batch.layout);
    match transformer.head {
        Head::Classifier(_) => batch.logits(transformer, hidden).flatten(0, 1),
        _ => batch.loss_sum(transformer, hidden),
    }
}

/// Mean loss over the target tokens of `split` (not a mean of batch means), over at most `max_batches` batches (0: all).
///
/// # Errors
/// The device failed.
pub async fn evaluate(
    base: &Pretrained,
    split: &Split,
    batch_size: usize,
    max_batches: usize,
    device: &ComputeDevice,
) -> Result<Evaluation> {
    let transformer = &base.transformer;
    let mut batches = sequential(&split.lengths(), batch_size)?;
    if max_batches > 0 && batches.len() > max_batches {
        // Evenly spread, because the batches are in order of length.
        let all = batches.len();
        batches = (0..max_batches).map(|k| std::mem::take(&mut batches[k * all / max_batches])).collect();
    }
    let classes = base.classes().len();
    let (mut sum, mut target_tokens, mut rows) = (0.0f64, 0, 0);
    let mut pairs = Vec::new();
    for chunk in batches.chunks(IN_FLIGHT) {
        let (mut outputs, mut truth) = (Vec::new(), Vec::new());
        for selected in chunk {
            let limit = transformer.architecture.max_positions;
            let batch = Batch::assemble(split, selected, base.pad_id(), ROUND_TO, limit);
            truth.extend(batch.classes.iter().map(|&class| class as usize));
            let batch = Prepared::new(&batch, transformer, device);
            target_tokens += batch.target_tokens;
            rows += selected.len();
            outputs.push(forward(transformer, &batch));
        }
        let outputs = device::read(Tensor::cat(outputs, 0)).await?;
        if classes == 0 {
            sum += outputs.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            continue;
        }
        for (logits, actual) in outputs.chunks(classes).zip(truth) {
            let probabilities = softmax(logits);
            sum -= probabilities[actual].max(f64::MIN_POSITIVE).ln();
            pairs.push((actual, most_likely(&probabilities)));
        }
    }
    let loss = sum / target_tokens.max(1) as f64;
    let classification = (classes > 0).then(|| Classification::new(&pairs, classes));
    Ok(Evaluation { loss, perplexity: loss.exp(), target_tokens, rows, classification })
}

/// Probabilities of one row's logits.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let parts: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = parts.iter().sum();
    parts.into_iter().map(|part| part / sum).collect()
}

/// The class with the largest probability; of equal ones the first.
pub fn most_likely(probabilities: &[f64]) -> usize {
    let mut best = 0;
    for (class, &probability) in probabilities.iter().enumerate() {
        if probability > probabilities[best] {
            best = class;
        }
    }
    best
}
