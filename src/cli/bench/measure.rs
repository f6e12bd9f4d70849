//! What the benchmarks share: batches, models, and the measuring of time and memory.

use std::time::Instant;

use burn::tensor::Tensor;

use crate::{
    Error, Result,
    data::Batch,
    device::ComputeDevice,
    kernel::AdamW,
    model::{
        Pretrained,
        classifier::{Classify, HeadStart, Purpose},
    },
};

/// Any AdamW step: nothing that is measured depends on its values.
pub(super) const SETTINGS: AdamW = AdamW {
    learning_rate: 1e-3,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-8,
    weight_decay: 0.0,
    correction1: 0.1,
    correction2: 0.01,
    max_norm: 1.0,
};

/// `rows` rows of `width` tokens, all of which are trained on; for a classifier with every class in turn.
pub(super) fn full_batch(base: &Pretrained, rows: usize, width: usize) -> Batch {
    let vocabulary = base.transformer.architecture.vocab_size as i32;
    let full = Batch::full((0..rows * width).map(|at| at as i32 % vocabulary).collect(), width);
    match base.classes().len() {
        0 => full,
        count => Batch { target_tokens: rows, classes: (0..rows).map(|row| (row % count) as i32).collect(), ..full },
    }
}

/// What a model of so many classes is for; without any it is a language model.
pub(super) fn purpose(classes: Option<usize>, seed: u64) -> Purpose {
    classes.map_or(Purpose::LanguageModel, |count| {
        Purpose::Classify(Classify {
            classes: (0..count).map(|class| class.to_string()).collect(),
            start: HeadStart::Random { seed },
            template: None,
        })
    })
}

/// Waits until all queued work is done.
pub(super) fn sync(device: &ComputeDevice) -> Result<()> {
    device.handle.sync().map_err(|e| Error::Device(format!("the device failed: {e:?}")))
}

/// Seconds for which short calls are measured together.
const TOGETHER: f64 = 2e-3;

/// Seconds of one call: the shortest of several, after one to warm up.
pub(super) fn fastest(device: &ComputeDevice, mut call: impl FnMut() -> Tensor<1>) -> Result<f64> {
    let mut times = |calls: usize| {
        let started = Instant::now();
        (0..calls).for_each(|_| drop(call()));
        sync(device)?;
        Ok::<f64, Error>(started.elapsed().as_secs_f64())
    };
    times(1)?;
    // Waiting for the device takes time as well: short calls are measured together.
    let together = ((TOGETHER / times(1)?) as usize).clamp(1, 32);
    let (mut best, mut spent, mut rounds) = (f64::INFINITY, 0.0, 0);
    while rounds < 3 || (spent < 0.4 && rounds < 50) {
        let secs = times(together)?;
        (best, spent, rounds) = (best.min(secs / together as f64), spent + secs, rounds + 1);
    }
    Ok(best)
}

/// Bytes in use once all queued work is done.
pub(super) fn in_use(device: &ComputeDevice) -> Result<u64> {
    sync(device)?;
    device.handle.memory_cleanup();
    Ok(device.memory().in_use_bytes)
}

/// Bytes by which the allocator's reserve grows for one call, from an empty reserve.
pub(super) fn reserve(device: &ComputeDevice, call: impl FnOnce() -> Tensor<1>) -> Result<u64> {
    device.handle.memory_cleanup();
    sync(device)?;
    let before = device.memory().reserved_bytes;
    let result = call();
    sync(device)?;
    let after = device.memory().reserved_bytes;
    drop(result);
    Ok(after.saturating_sub(before))
}
