//! What memory needs to know of the data, and the fullest batches that can come of it.

use crate::{
    Result,
    config::RunConfig,
    data::{Batch, Dataset, IGNORED_LABEL, Split},
    model::Architecture,
    train::{evaluate::ROUND_TO, inputs::data_settings},
};

/// What memory needs to know of the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Tokens of the longest row to train on.
    pub longest: usize,
    /// Predictions that count in each row to train on, most first; empty where all may count.
    pub targets: Vec<usize>,
    /// Tokens of the longest row to evaluate; 0 where there is none.
    pub evaluated: usize,
    /// How many rows there are to evaluate at most.
    pub evaluated_rows: usize,
}

impl Rows {
    /// Those of a data set.
    pub fn of(dataset: &Dataset) -> Self {
        let longest = |split: &Split| split.lengths().into_iter().max().unwrap_or(0);
        let train = &dataset.train;
        let mut targets: Vec<usize> = (0..train.len()).map(|row| train.row_targets(row)).collect();
        targets.sort_unstable_by_key(|&count| std::cmp::Reverse(count));
        let (evaluated, evaluated_rows) = dataset.valid.as_ref().map_or((0, 0), |valid| (longest(valid), valid.len()));
        Self { longest: longest(train), targets, evaluated, evaluated_rows }
    }

    /// The most that the settings allow, where the data are not known.
    ///
    /// # Errors
    /// A length beyond the model's positions.
    pub fn unknown(config: &RunConfig, architecture: &Architecture) -> Result<Self> {
        let longest = data_settings(config, architecture.max_positions)?.max_seq_length;
        Ok(Self { longest, targets: Vec::new(), evaluated: longest, evaluated_rows: usize::MAX })
    }

    /// The same rows cut to a length.
    pub(super) fn cut(&self, most: usize) -> Self {
        Self {
            longest: self.longest.min(most),
            targets: self.targets.iter().map(|&count| count.min(most)).collect(),
            evaluated: self.evaluated.min(most),
            ..*self
        }
    }

    /// The fullest batch of `size` rows to train on; no batch has more rows than there are.
    pub(super) fn to_train(&self, size: usize, classify: bool, positions: usize) -> Fullest<'_> {
        let there = if self.targets.is_empty() { usize::MAX } else { self.targets.len() };
        Fullest { longest: self.longest, size: size.min(there), targets: &self.targets, classify, positions }
    }

    /// The fullest batch of `size` rows to evaluate, if there are any.
    pub(super) fn to_evaluate(&self, size: usize, classify: bool, positions: usize) -> Option<Fullest<'_>> {
        let (longest, size) = (self.evaluated, size.min(self.evaluated_rows));
        (longest > 0).then_some(Fullest { longest, size, targets: &[], classify, positions })
    }
}

/// A batch that is as full as one can be.
#[derive(Clone, Copy)]
pub(super) struct Fullest<'a> {
    /// Tokens of each row.
    longest: usize,
    /// Rows.
    pub size: usize,
    /// Predictions that count in each row; empty where all do.
    targets: &'a [usize],
    classify: bool,
    /// Most tokens of a row, padding included.
    positions: usize,
}

impl Fullest<'_> {
    /// Tokens of a row, padding included.
    pub(super) fn width(&self) -> usize {
        self.longest.next_multiple_of(ROUND_TO).min(self.positions)
    }

    /// The batch: of the first token of the vocabulary only.
    pub(super) fn batch(&self) -> Batch {
        let (width, size) = (self.width(), self.size);
        let mut labels = vec![IGNORED_LABEL; width * size];
        let mut mask = vec![0; width * size];
        let mut counted = 0;
        for row in 0..size {
            mask[row * width..][..self.longest.min(width)].fill(1);
            if !self.classify {
                // The first token of a row is predicted by nothing.
                let targets = self.targets.get(row).copied().unwrap_or(self.longest).min(width - 1);
                labels[row * width + 1..][..targets].fill(0);
                counted += targets;
            }
        }
        Batch {
            ids: vec![0; width * size],
            labels,
            attention_mask: mask,
            row_count: size,
            width,
            target_tokens: if self.classify { size } else { counted },
            tokens: self.longest * size,
            classes: if self.classify { vec![0; size] } else { Vec::new() },
            token_types: Vec::new(),
        }
    }
}
