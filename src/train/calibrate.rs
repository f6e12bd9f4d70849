//! Dense gradients on the first batches, for masks that are chosen by them.

use super::{evaluate::ROUND_TO, objective::Prepared};
use crate::{
    Result,
    config::RunConfig,
    data::{Batch, BatchPlan, Dataset},
    device::ComputeDevice,
    method::{Calibrate, Pending, dense_gradients},
    model::Transformer,
};

/// How many batches are looked at.
const BATCHES: u64 = 4;

/// The first batches of a run.
pub(super) struct FirstBatches<'a> {
    pub config: &'a RunConfig,
    pub dataset: &'a Dataset,
    pub pad_id: u32,
    pub device: &'a ComputeDevice,
}

impl Calibrate for FirstBatches<'_> {
    fn gradients<'a>(&'a self, transformer: &'a mut Transformer, names: &'a [String]) -> Pending<'a, Vec<Vec<f32>>> {
        Box::pin(self.summed(transformer, names))
    }
}

impl FirstBatches<'_> {
    /// Summed over the batches without their signs: signed gradients would cancel where they disagree.
    async fn summed(&self, transformer: &mut Transformer, names: &[String]) -> Result<Vec<Vec<f32>>> {
        let rows = &self.dataset.train;
        let mut plan = BatchPlan::new(&rows.lengths(), self.config.batch_size, self.config.seed)?;
        let mut sums: Vec<Vec<f32>> = vec![Vec::new(); names.len()];
        for k in 0..BATCHES.min(plan.batches_per_epoch()) {
            let limit = transformer.architecture.max_positions;
            let batch = Batch::assemble(rows, &plan.rows(k), self.pad_id, ROUND_TO, limit);
            let batch = Prepared::new(&batch, transformer, self.device);
            let backward = |model: &Transformer| {
                let hidden = model.hidden(batch.ids.clone(), &batch.layout);
                batch.loss_sum(model, hidden).backward()
            };
            let gradients = dense_gradients(transformer, names, backward).await?;
            for (sum, gradient) in sums.iter_mut().zip(gradients) {
                sum.resize(gradient.len(), 0.0);
                sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value.abs());
            }
        }
        Ok(sums)
    }
}
