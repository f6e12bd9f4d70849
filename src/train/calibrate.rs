//! Dense gradients on the first batches, for masks that are chosen by them.

use super::{evaluate::ROUND_TO, objective::Prepared};
use crate::{
    Result,
    config::RunConfig,
    data::{Batch, BatchPlan, Dataset},
    device::ComputeDevice,
    method::dense_gradients,
    model::Transformer,
};

/// How many batches are looked at.
const BATCHES: u64 = 4;

/// Absolute gradients of the parameters `names`, each in the layout of the checkpoint, summed over the first batches of
/// the run (signed gradients would cancel where they disagree).
///
/// # Errors
/// There are no rows.
pub(super) fn first_gradients(
    config: &RunConfig,
    dataset: &Dataset,
    pad_id: u32,
    device: &ComputeDevice,
    transformer: &mut Transformer,
    names: &[String],
) -> Result<Vec<Vec<f32>>> {
    let mut plan = BatchPlan::new(&dataset.train.lengths(), config.batch_size, config.seed)?;
    let mut sums: Vec<Vec<f32>> = vec![Vec::new(); names.len()];
    for k in 0..BATCHES.min(plan.batches_per_epoch()) {
        let limit = transformer.architecture.max_positions;
        let batch = Batch::assemble(&dataset.train, &plan.rows(k), pad_id, ROUND_TO, limit);
        let batch = Prepared::new(&batch, transformer, device);
        let gradients = dense_gradients(transformer, names, |model| {
            let hidden = model.hidden(batch.ids.clone(), &batch.layout);
            batch.loss_sum(model, hidden).backward()
        });
        for (sum, gradient) in sums.iter_mut().zip(gradients) {
            sum.resize(gradient.len(), 0.0);
            sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value.abs());
        }
    }
    Ok(sums)
}
