//! The loss of a batch: which positions count, and their cross-entropy.

use std::ops::Range;

use burn::tensor::{Int, Tensor};

use crate::{
    data::{Batch, IGNORED_LABEL},
    device::{ComputeDevice, DeviceFacts, Kind},
    kernel,
    model::{Transformer, architecture::Pooling, attention::Layout},
};

/// Below this share of target positions the head is computed for them alone: the `[N, V]` logits are the largest
/// tensor of a step.
const SELECT_BELOW: f64 = 0.75;

/// Logits that are formed at once on any device: 64 MB in f32, half of what every device can bind.
const LEAST_LOGITS: usize = 1 << 24;
/// Logits that are formed at once at most: 512 MB in f32.
const MOST_LOGITS: usize = 1 << 27;
/// Share of a GPU's own memory that the logits formed at once take at most.
const SHARE_OF_MEMORY: u64 = 128;

/// Whether so few of all positions count that the head is computed for them alone.
fn few(counted: usize, all: usize) -> bool {
    (counted as f64) < SELECT_BELOW * all as f64 && counted > 0
}

/// How many positions have their logits in one tensor at most.
///
/// A GPU with memory of its own takes more at once: it has many more lanes to keep busy.
fn positions_at_once(vocab_size: usize, device: &DeviceFacts) -> usize {
    let numbers = match device.kind {
        Kind::DiscreteGpu => (device.memory_bytes.unwrap_or(0) / SHARE_OF_MEMORY / 4) as usize,
        _ => 0,
    };
    (numbers.clamp(LEAST_LOGITS, MOST_LOGITS) / vocab_size).max(1)
}

/// A batch on the device.
#[derive(Debug)]
pub struct Prepared {
    /// Token ids `[B * T]`.
    pub ids: Tensor<1, Int>,
    /// What the model needs to know besides.
    pub layout: Layout,
    /// Positions `[N]` whose prediction counts; `None` for all `B * T`.
    positions: Option<Tensor<1, Int>>,
    /// Weights `[B, T, 1]` of the mean over a row that a classifier reads, where it reads that.
    shares: Option<Tensor<3>>,
    /// What is right at each of these positions: the next token or the row's class; negative where it does not count.
    targets: Tensor<1, Int>,
    /// Number of predictions that count.
    pub target_tokens: usize,
    /// How many of them have their logits in one tensor at most.
    at_once: usize,
}

impl Prepared {
    /// Uploads a batch. In language modelling the prediction at position `t` is judged by `labels[t + 1]`, a row's last
    /// position by nothing; a classifier makes one prediction a row.
    pub fn new(batch: &Batch, transformer: &Transformer, device: &ComputeDevice) -> Self {
        let pooling = transformer.architecture.pooling;
        let (positions, targets) = match (batch.classes.is_empty(), pooling) {
            (true, _) => next_tokens(batch),
            (false, Pooling::Mean) => (None, batch.classes.clone()),
            (false, _) => (Some(pooled(batch, pooling)), batch.classes.clone()),
        };
        let averaged = !batch.classes.is_empty() && pooling == Pooling::Mean;
        // Where nothing looks ahead, padding behind a row needs no mask.
        let rows = || batch.attention_mask.chunks(batch.width);
        let padded = batch.attention_mask.contains(&0);
        let masked = padded && (!transformer.architecture.causal || rows().any(|row| row[0] == 0));
        let mask = masked.then_some(&batch.attention_mask[..]);
        Self {
            ids: device.integers(batch.ids.clone()),
            layout: transformer.layout(batch.row_count, batch.width, mask, &batch.token_types),
            target_tokens: targets.iter().filter(|&&target| target >= 0).count(),
            positions: positions.map(|positions| device.integers(positions)),
            shares: averaged.then(|| device.floats(shares(batch), [batch.row_count, batch.width, 1])),
            targets: device.integers(targets),
            at_once: positions_at_once(transformer.architecture.vocab_size, &device.facts),
        }
    }

    /// Logits `[N, classes or V]` at the positions that count, from the hidden states `[B * T, D]` after the last block.
    pub fn logits(&self, transformer: &Transformer, hidden: Tensor<2>) -> Tensor<2> {
        transformer.head(self.counted(hidden))
    }

    /// Sum of the losses `[1]`, in nats, from the hidden states `[B * T, D]` after the last block.
    pub fn loss_sum(&self, transformer: &Transformer, hidden: Tensor<2>) -> Tensor<1> {
        self.loss_sum_by_rows(transformer, hidden, self.at_once)
    }

    /// The same with the logits of at most `at_once` positions in one tensor.
    pub fn loss_sum_by_rows(&self, transformer: &Transformer, hidden: Tensor<2>, at_once: usize) -> Tensor<1> {
        let hidden = self.counted(hidden);
        let pieces = self.pieces_of(at_once);
        let whole = pieces.len() == 1;
        let parts = pieces.into_iter().map(|piece| {
            let rows = if whole { hidden.clone() } else { hidden.clone().slice_dim(0, piece.clone()) };
            kernel::cross_entropy(transformer.head(rows), self.targets(piece)).sum()
        });
        parts.reduce(|sum, part| sum + part).expect("a batch has rows")
    }

    /// Hidden states `[N, D]` at the positions that count, or their means over rows.
    pub(super) fn counted(&self, hidden: Tensor<2>) -> Tensor<2> {
        if let Some(shares) = &self.shares {
            let [rows, width, _] = shares.dims();
            let depth = hidden.dims()[1];
            // One product a row: [1, T] with [T, D].
            let hidden = hidden.reshape([rows, width, depth]);
            return shares.clone().swap_dims(1, 2).matmul(hidden).reshape([rows, depth]);
        }
        match &self.positions {
            Some(positions) => hidden.select(0, positions.clone()),
            None => hidden,
        }
    }

    /// The `N` positions that count in pieces whose logits exist at one time.
    pub(super) fn pieces(&self) -> Vec<Range<usize>> {
        self.pieces_of(self.at_once)
    }

    fn pieces_of(&self, at_once: usize) -> Vec<Range<usize>> {
        let [rows] = self.targets.dims();
        (0..rows).step_by(at_once).map(|start| start..rows.min(start + at_once)).collect()
    }

    /// What is right at one piece of the positions that count: the next token or the row's class; negative where it does not
    /// count.
    pub(super) fn targets(&self, piece: Range<usize>) -> Tensor<1, Int> {
        self.targets.clone().slice_dim(0, piece)
    }
}

/// Where the next token counts, if that is not everywhere, and which token it is.
fn next_tokens(batch: &Batch) -> (Option<Vec<i32>>, Vec<i32>) {
    let mut targets = vec![IGNORED_LABEL; batch.ids.len()];
    for (targets, labels) in targets.chunks_mut(batch.width).zip(batch.labels.chunks(batch.width)) {
        targets[..batch.width - 1].copy_from_slice(&labels[1..]);
    }
    let counted: Vec<i32> = (0..targets.len()).filter(|&at| targets[at] >= 0).map(|at| at as i32).collect();
    if !few(counted.len(), targets.len()) {
        return (None, targets);
    }
    let targets = counted.iter().map(|&at| targets[at as usize]).collect();
    (Some(counted), targets)
}

/// The position of each row that a classifier reads.
fn pooled(batch: &Batch, pooling: Pooling) -> Vec<i32> {
    let last = |row: &[u8]| row.iter().rposition(|&kept| kept != 0).unwrap_or(0);
    let rows = batch.attention_mask.chunks(batch.width).enumerate();
    rows.map(|(index, row)| {
        let within = if pooling == Pooling::LastToken { last(row) } else { 0 };
        (index * batch.width + within) as i32
    })
    .collect()
}

/// What each position adds to the mean of its row: equal parts of those that are not padding.
fn shares(batch: &Batch) -> Vec<f32> {
    let of_row = |row: &[u8]| {
        let count = row.iter().filter(|&&kept| kept != 0).count().max(1) as f32;
        row.iter().map(|&kept| if kept != 0 { 1.0 / count } else { 0.0 }).collect::<Vec<f32>>()
    };
    batch.attention_mask.chunks(batch.width).flat_map(of_row).collect()
}
