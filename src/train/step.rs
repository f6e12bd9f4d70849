//! One optimizer step, readable from top to bottom.

use burn::tensor::{Gradients, Tensor};

use super::objective::Prepared;
use crate::{
    Result,
    data::Batch,
    device::ComputeDevice,
    kernel::AdamW,
    method::Training,
    model::{Transformer, parameter::Parts},
};

/// Figures of a step, still on the device: nothing is read here.
#[derive(Debug)]
pub struct Outcome {
    /// Mean loss `[1]` over the target tokens of the whole window, with the method's penalty.
    pub loss: Tensor<1>,
    /// Squared global gradient norm `[1]` before clipping.
    pub squared_norm: Tensor<1>,
}

/// One step over a window of batches (gradient accumulation). The loss is normalised by the target tokens of the whole
/// window, so a window of four batches gives the gradient of one batch four times the size. `first_batch` is the number
/// of the window's first batch in the run. What the method does after a step is [`Training::after_step`].
///
/// # Errors
/// Nothing was trained.
pub fn optimizer_step(
    transformer: &mut Transformer,
    training: &mut Training,
    window: &[Batch],
    first_batch: u64,
    settings: &AdamW,
    gradient_checkpointing: bool,
    device: &ComputeDevice,
) -> Result<Outcome> {
    let nobody = &mut || {};
    optimizer_step_observed(
        transformer,
        training,
        window,
        first_batch,
        settings,
        gradient_checkpointing,
        device,
        nobody,
    )
}

/// As [`optimizer_step`]; calls `observe` when the gradients are there and nothing is updated yet, which is about when a
/// step holds most memory.
///
/// # Errors
/// As [`optimizer_step`].
#[expect(clippy::too_many_arguments, reason = "those of a step, and the observer")]
pub fn optimizer_step_observed(
    transformer: &mut Transformer,
    training: &mut Training,
    window: &[Batch],
    first_batch: u64,
    settings: &AdamW,
    gradient_checkpointing: bool,
    device: &ComputeDevice,
    observe: &mut dyn FnMut(),
) -> Result<Outcome> {
    let target_tokens: usize = window.iter().map(|batch| batch.target_tokens).sum();
    let scale = 1.0 / target_tokens.max(1) as f64;

    let mut loss = training.penalty(transformer, first_batch);
    for (number, batch) in (first_batch..).zip(window) {
        let batch = Numbered { number, scale, batch: Prepared::new(batch, transformer, device) };
        let part = if gradient_checkpointing {
            by_blocks(transformer, training, &batch)
        } else {
            at_once(transformer, training, &batch)
        };
        // The leaves are second handles of trained tensors, which the step writes in place.
        training.detach(transformer);
        loss = Some(match loss {
            Some(sum) => sum + part,
            None => part,
        });
    }
    observe();
    let squared_norm = training.update(transformer, settings)?;
    Ok(Outcome { loss: loss.unwrap_or_else(|| Tensor::zeros([1], &device.handle)), squared_norm })
}

/// A batch of a step.
struct Numbered {
    /// In the run.
    number: u64,
    /// Share of the batch's summed loss in the step's.
    scale: f64,
    batch: Prepared,
}

/// Forward and backward over the whole graph at once. Returns this batch's part of the loss `[1]`.
fn at_once(transformer: &mut Transformer, training: &mut Training, batch: &Numbered) -> Tensor<1> {
    training.attach(transformer, batch.number);
    let passes = 0..training.passes();
    let hidden = passes.map(|index| {
        enter(transformer, training, batch, index);
        transformer.hidden(batch.batch.ids.clone(), &batch.batch.layout)
    });
    let hidden = hidden.collect();
    let (loss, gradients) = from_the_loss(transformer, training, batch, hidden);
    if let Some(mut gradients) = gradients {
        training.collect(&mut gradients);
    }
    loss
}

/// Has the model compute pass `index` of the batch, where a batch takes more than one.
fn enter(transformer: &mut Transformer, training: &Training, batch: &Numbered, index: usize) {
    if training.passes() > 1 {
        training.enter(transformer, batch.number, index);
    }
}

/// The loss `[1]` from the hidden states `[B * T, D]` of each pass, and the backward pass from it through what they come from;
/// `None` where nothing there is trained.
///
/// Logits are the largest tensor of a step. Where they would be too many for one tensor, the head goes there and back with a
/// piece of the positions at a time, so that the logits of one piece are all that exist.
fn from_the_loss(
    transformer: &mut Transformer,
    training: &mut Training,
    batch: &Numbered,
    hidden: Vec<Tensor<2>>,
) -> (Tensor<1>, Option<Gradients>) {
    let counted: Vec<_> = hidden.into_iter().map(|hidden| batch.batch.counted(hidden)).collect();
    let pieces = batch.batch.pieces();
    let loss_of = |transformer: &mut Transformer, training: &Training, rows: Vec<Tensor<2>>, piece| {
        let logits = rows.into_iter().enumerate().map(|(index, rows)| {
            enter(transformer, training, batch, index);
            transformer.head(rows)
        });
        let logits = logits.collect();
        training.loss(logits, batch.batch.targets(piece)).mul_scalar(batch.scale)
    };
    if let [all] = &pieces[..] {
        let loss = loss_of(transformer, training, counted, all.clone());
        let gradients = loss.is_tracked().then(|| loss.backward());
        return (loss.inner(), gradients);
    }
    let kept: Vec<_> = counted.iter().map(|counted| counted.clone().inner()).collect();
    let mut loss: Option<Tensor<1>> = None;
    let mut parts = vec![Vec::new(); kept.len()];
    for piece in pieces {
        let rows: Vec<_> = kept.iter().map(|kept| leaf(kept.clone().slice_dim(0, piece.clone()))).collect();
        let part = loss_of(transformer, training, rows.clone(), piece);
        let mut gradients = part.backward();
        for (parts, rows) in parts.iter_mut().zip(rows) {
            parts.push(rows.grad(&gradients).expect("the head depends on its input"));
        }
        training.collect(&mut gradients);
        let part = part.inner();
        loss = Some(match loss {
            Some(sum) => sum + part,
            None => part,
        });
    }
    drop(kept);
    let through = counted.into_iter().zip(parts).filter(|(counted, _)| counted.is_tracked());
    let through = through.map(|(counted, parts)| (counted * Tensor::from_inner(Tensor::cat(parts, 0))).sum());
    let gradients = through.reduce(|sum, pass| sum + pass).map(|sum| sum.backward());
    (loss.expect("a batch has rows"), gradients)
}

/// The same with gradient checkpointing: only the input of each block is kept, and its inside computed again in the backward
/// pass (Chen et al. 2016). Activations grow with one block instead of all.
fn by_blocks(transformer: &mut Transformer, training: &mut Training, batch: &Numbered) -> Tensor<1> {
    let (ids, layout) = (&batch.batch.ids, &batch.batch.layout);
    // Forward, without any graph.
    let mut inputs = Vec::new();
    for index in 0..training.passes() {
        training.enter_untracked(transformer, batch.number, index);
        let mut inputs_of_pass = vec![transformer.embed(ids.clone(), layout)];
        for block in 0..transformer.blocks.len() {
            inputs_of_pass.push(transformer.block(block, inputs_of_pass[block].clone(), layout));
        }
        inputs.push(inputs_of_pass);
    }

    // Backward: head, then the blocks of each pass from last to first, each from its kept input.
    training.attach(transformer, batch.number);
    let last = |inputs: &mut Vec<Tensor<2>>| leaf(inputs.pop().expect("one input a block and one for the head"));
    let ends: Vec<_> = inputs.iter_mut().map(last).collect();
    let (loss, gradients) = from_the_loss(transformer, training, batch, ends.clone());
    let mut gradients = gradients.expect("the head's input is tracked");
    let dx: Vec<_> = ends.iter().map(|end| end.grad(&gradients).expect("the head depends on its input")).collect();
    training.collect(&mut gradients);
    drop((ends, gradients));
    for (index, (mut inputs, mut dx)) in inputs.into_iter().zip(dx).enumerate() {
        enter(transformer, training, batch, index);
        for block in (0..transformer.blocks.len()).rev() {
            let x = leaf(inputs.pop().expect("one input a block"));
            let y = transformer.block(block, x.clone(), layout);
            let mut gradients = (y * Tensor::from_inner(dx)).sum().backward();
            dx = x.grad(&gradients).expect("a block depends on its input");
            training.collect(&mut gradients);
        }
        let mut tables = Vec::new();
        transformer.embeddings.gather(&mut tables);
        if tables.iter().any(|parameter| parameter.adaptation.is_some()) {
            let x = transformer.embed(ids.clone(), layout);
            training.collect(&mut (x * Tensor::from_inner(dx)).sum().backward());
        }
    }
    loss
}

/// A kept tensor as the start of a new graph.
fn leaf(kept: Tensor<2>) -> Tensor<2> {
    Tensor::from_inner(kept).require_grad()
}
