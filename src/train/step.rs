//! One optimizer step, readable from top to bottom.

use burn::tensor::{Gradients, Tensor};

use super::objective::Prepared;
use crate::{
    Result,
    data::Batch,
    device::ComputeDevice,
    kernel::AdamW,
    method::{self, Method},
    model::{Transformer, parameter::Parts},
};

/// Where a step is when all of its gradients are there and the optimizer has not begun, as
/// [`ComputeDevice::reached`] hears it.
pub(super) const GRADIENTS_ARE_THERE: &str = "all gradients are there";

/// Figures of a step, still on the device: nothing is read here.
#[derive(Debug)]
pub struct Outcome {
    /// Mean loss `[1]` over the target tokens of the whole window.
    pub loss: Tensor<1>,
    /// Squared global gradient norm `[1]` before clipping.
    pub squared_norm: Tensor<1>,
}

/// One step over a window of batches (gradient accumulation). The loss is normalised by the target tokens of the whole
/// window, so a window of four batches gives the gradient of one batch four times the size. `first_pass` is the number
/// of the window's first batch in the run.
///
/// # Errors
/// Nothing was trained.
pub fn optimizer_step(
    transformer: &mut Transformer,
    method: &mut dyn Method,
    window: &[Batch],
    first_pass: u64,
    settings: &AdamW,
    recompute_blocks: bool,
    device: &ComputeDevice,
) -> Result<Outcome> {
    let target_tokens: usize = window.iter().map(|batch| batch.target_tokens).sum();
    let scale = 1.0 / target_tokens.max(1) as f64;

    let mut loss: Option<Tensor<1>> = None;
    for (pass, batch) in (first_pass..).zip(window) {
        let batch = Prepared::new(batch, transformer, device);
        let part = if recompute_blocks {
            recomputed(transformer, method, &batch, pass, scale)
        } else {
            method.attach(transformer, pass);
            whole(transformer, method, &batch, scale)
        };
        // The leaves are second handles of trained tensors, which the step writes in place.
        method.detach(transformer);
        loss = Some(match loss {
            Some(sum) => sum + part,
            None => part,
        });
    }
    device.reached(GRADIENTS_ARE_THERE);
    let squared_norm = method::update(method, transformer, settings)?;
    Ok(Outcome { loss: loss.unwrap_or_else(|| Tensor::zeros([1], &device.handle)), squared_norm })
}

/// Forward and backward over the whole graph at once. Returns this batch's part of the loss `[1]`.
fn whole(transformer: &Transformer, method: &mut dyn Method, batch: &Prepared, scale: f64) -> Tensor<1> {
    let hidden = transformer.hidden(batch.ids.clone(), &batch.layout);
    let (loss, gradients) = from_the_loss(transformer, method, batch, hidden, scale);
    if let Some(mut gradients) = gradients {
        method.collect(&mut gradients);
    }
    loss
}

/// The loss `[1]` from the hidden states `[B * T, D]`, and the backward pass from it through what they come from; `None` where
/// nothing there is trained.
///
/// Logits are the largest tensor of a step. Where they would be too many for one tensor, the head goes there and back with a
/// piece of the positions at a time, so that the logits of one piece are all that exist.
fn from_the_loss(
    transformer: &Transformer,
    method: &mut dyn Method,
    batch: &Prepared,
    hidden: Tensor<2>,
    scale: f64,
) -> (Tensor<1>, Option<Gradients>) {
    let counted = batch.counted(hidden);
    let pieces = batch.pieces();
    if let [all] = &pieces[..] {
        let loss = batch.loss_of(transformer, &counted, all.clone()).mul_scalar(scale);
        let gradients = loss.is_tracked().then(|| loss.backward());
        return (loss.inner(), gradients);
    }
    let kept = counted.clone().inner();
    let mut loss: Option<Tensor<1>> = None;
    let mut parts = Vec::new();
    for piece in pieces {
        let x = leaf(kept.clone().slice_dim(0, piece.clone()));
        let part = batch.loss_of_rows(transformer, x.clone(), piece).mul_scalar(scale);
        let mut gradients = part.backward();
        parts.push(x.grad(&gradients).expect("the head depends on its input"));
        method.collect(&mut gradients);
        let part = part.inner();
        loss = Some(match loss {
            Some(sum) => sum + part,
            None => part,
        });
    }
    drop(kept);
    let dx = Tensor::cat(parts, 0);
    let gradients = counted.is_tracked().then(|| (counted * Tensor::from_inner(dx)).sum().backward());
    (loss.expect("a batch has rows"), gradients)
}

/// The same, keeping only the input of each block and computing its inside again in the backward pass (Chen et al.
/// 2016): activations grow with one block instead of all.
fn recomputed(
    transformer: &mut Transformer,
    method: &mut dyn Method,
    batch: &Prepared,
    pass: u64,
    scale: f64,
) -> Tensor<1> {
    // Forward, without any graph.
    method.rehearse(transformer, pass);
    let mut inputs = vec![transformer.embed(batch.ids.clone(), &batch.layout)];
    for index in 0..transformer.blocks.len() {
        inputs.push(transformer.block(index, inputs[index].clone(), &batch.layout));
    }

    // Backward: head, then blocks from last to first, each from its kept input.
    method.attach(transformer, pass);
    let x = leaf(inputs.pop().expect("one input a block and one for the head"));
    let (loss, gradients) = from_the_loss(transformer, method, batch, x.clone(), scale);
    let mut gradients = gradients.expect("the head's input is tracked");
    let mut dx = x.grad(&gradients).expect("the head depends on its input");
    method.collect(&mut gradients);
    drop((x, gradients));
    for index in (0..transformer.blocks.len()).rev() {
        let x = leaf(inputs.pop().expect("one input a block"));
        let y = transformer.block(index, x.clone(), &batch.layout);
        let mut gradients = (y * Tensor::from_inner(dx)).sum().backward();
        dx = x.grad(&gradients).expect("a block depends on its input");
        method.collect(&mut gradients);
    }
    let mut tables = Vec::new();
    transformer.embeddings.gather(&mut tables);
    if tables.iter().any(|parameter| parameter.adaptation.is_some()) {
        let x = transformer.embed(batch.ids.clone(), &batch.layout);
        method.collect(&mut (x * Tensor::from_inner(dx)).sum().backward());
    }
    loss
}

/// A kept tensor as the start of a new graph.
fn leaf(kept: Tensor<2>) -> Tensor<2> {
    Tensor::from_inner(kept).require_grad()
}
