//! The rows of one file as token ids and targets, ready to be drawn from in any order.
//!
//! A row is a list of ids with, for each id, whether predicting it counts. Rows know nothing of batches and padding.

use super::id_store::IdStore;
use crate::error::{Error, Result};

/// One row: ids and, for each, whether it is a target (`targets.len() == ids.len()`). The first id has nothing before
/// it to be predicted from, so `targets[0]` is always false. A row that is classified as a whole has no targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Whether the loss counts the prediction of this id.
    pub targets: Vec<bool>,
    /// The number of its class; `None` in language modelling.
    pub class: Option<u32>,
    /// The position from which the token type is 1; `ids.len()` where there is no second text.
    pub second: usize,
}

/// All rows of one file.
pub struct Split {
    ids: IdStore,
    layout: Layout,
    target_tokens: usize,
    class_counts: Vec<usize>,
}

enum Layout {
    /// Equal blocks of one stream; every id is a target but the first of a block.
    Blocks { block: usize },
    /// Rows of their own lengths, with ranges of targets.
    Rows { rows: Vec<RowSpan>, targets: Vec<(u32, u32)> },
    /// Rows of their own lengths, each of one class.
    Classes { rows: Vec<ClassSpan> },
}

/// Where a row lies in the ids, and its ranges in the list of targets.
pub(crate) struct RowSpan {
    pub offset: u64,
    pub length: u32,
    pub target_count: u32,
    pub first_target: u64,
}

/// Where a row lies in the ids, where in the row the second text begins, and the row's class.
pub(crate) struct ClassSpan {
    pub offset: u64,
    pub length: u32,
    pub second: u32,
    pub class: u32,
}

impl Split {
    /// Cuts a stream into blocks. A last short block is kept when it has at least two ids.
    pub(crate) fn blocks(ids: IdStore, block: usize) -> Self {
        let layout = Layout::Blocks { block };
        let mut split = Self { ids, layout, target_tokens: 0, class_counts: Vec::new() };
        split.target_tokens = split.tokens() - split.len();
        split
    }

    /// Rows with ranges of targets (relative to their row, sorted, not overlapping, none at position 0).
    pub(crate) fn rows(ids: IdStore, rows: Vec<RowSpan>, targets: Vec<(u32, u32)>) -> Self {
        let target_tokens = targets.iter().map(|&(start, end)| (end - start) as usize).sum();
        Self { ids, layout: Layout::Rows { rows, targets }, target_tokens, class_counts: Vec::new() }
    }

    /// Rows of classes, whose numbers are below `class_count`.
    pub(crate) fn classes(ids: IdStore, rows: Vec<ClassSpan>, class_count: usize) -> Self {
        let mut class_counts = vec![0; class_count];
        rows.iter().for_each(|row| class_counts[row.class as usize] += 1);
        Self { ids, target_tokens: rows.len(), layout: Layout::Classes { rows }, class_counts }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match &self.layout {
            Layout::Blocks { block } => self.ids.len() / block + usize::from(self.ids.len() % block >= 2),
            Layout::Rows { rows, .. } => rows.len(),
            Layout::Classes { rows } => rows.len(),
        }
    }

    /// Whether there is no row (never so in a loaded data set).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of ids of row `index`.
    ///
    /// # Panics
    /// When `index` is not below [`Self::len`].
    pub fn row_length(&self, index: usize) -> usize {
        match &self.layout {
            Layout::Blocks { block } => {
                assert!(index < self.len(), "row {index} of {}", self.len());
                (*block).min(self.ids.len() - index * block)
            }
            Layout::Rows { rows, .. } => rows[index].length as usize,
            Layout::Classes { rows } => rows[index].length as usize,
        }
    }

    /// The lengths of all rows, as a batch plan wants them.
    pub fn lengths(&self) -> Vec<usize> {
        (0..self.len()).map(|index| self.row_length(index)).collect()
    }

    /// How many ids of row `index` are targets.
    pub fn row_targets(&self, index: usize) -> usize {
        match &self.layout {
            Layout::Blocks { .. } => self.row_length(index) - 1,
            Layout::Rows { rows, targets } => {
                let first = rows[index].first_target as usize;
                let ranges = &targets[first..first + rows[index].target_count as usize];
                ranges.iter().map(|&(start, end)| (end - start) as usize).sum()
            }
            Layout::Classes { .. } => 0,
        }
    }

    /// Row `index`.
    ///
    /// # Panics
    /// When `index` is not below [`Self::len`].
    pub fn row(&self, index: usize) -> Row {
        let length = self.row_length(index);
        match &self.layout {
            Layout::Blocks { block } => {
                let mut targets = vec![true; length];
                targets[0] = false;
                Row { ids: self.ids.get(index * block..index * block + length), targets, class: None, second: length }
            }
            Layout::Rows { rows, targets: ranges } => {
                let span = &rows[index];
                let mut targets = vec![false; length];
                let first = span.first_target as usize;
                for &(start, end) in &ranges[first..first + span.target_count as usize] {
                    targets[start as usize..end as usize].fill(true);
                }
                let offset = span.offset as usize;
                Row { ids: self.ids.get(offset..offset + length), targets, class: None, second: length }
            }
            Layout::Classes { rows } => {
                let span = &rows[index];
                let offset = span.offset as usize;
                Row {
                    ids: self.ids.get(offset..offset + length),
                    targets: vec![false; length],
                    class: Some(span.class),
                    second: span.second as usize,
                }
            }
        }
    }

    /// Number of ids in all rows.
    pub fn tokens(&self) -> usize {
        match &self.layout {
            Layout::Blocks { block } => {
                let rest = self.ids.len() % block;
                self.ids.len() - if rest < 2 { rest } else { 0 }
            }
            Layout::Rows { .. } | Layout::Classes { .. } => self.ids.len(),
        }
    }

    /// Number of rows of each class; empty in language modelling.
    pub fn class_counts(&self) -> &[usize] {
        &self.class_counts
    }

    /// Number of targets in all rows; in classification the number of rows.
    pub fn target_tokens(&self) -> usize {
        self.target_tokens
    }

    /// Number of tokens that stand for what the tokenizer has no token for.
    pub(crate) fn unknown_tokens(&self) -> usize {
        self.ids.counted()
    }

    /// Feeds everything that a batch is made of into a digest.
    pub(crate) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        // Each list with its length, so that no two data sets give the same bytes.
        let mut feed = |numbers: &[u64]| {
            for number in numbers {
                hasher.update(&number.to_le_bytes());
            }
        };
        feed(&[self.len() as u64, self.tokens() as u64]);
        match &self.layout {
            Layout::Blocks { block } => feed(&[0, *block as u64]),
            Layout::Rows { rows, targets } => {
                feed(&[1, targets.len() as u64]);
                rows.iter().for_each(|row| feed(&[row.length.into(), row.target_count.into()]));
                targets.iter().for_each(|&(start, end)| feed(&[start.into(), end.into()]));
            }
            Layout::Classes { rows } => {
                feed(&[2, rows.len() as u64]);
                rows.iter().for_each(|row| feed(&[row.length.into(), row.second.into(), row.class.into()]));
            }
        }
        self.ids.hash_into(hasher);
    }

    /// Checks that the model, which knows `token_types` kinds of tokens (0: it takes no notice of them), knows those of
    /// every row.
    ///
    /// # Errors
    /// A row has a second text, and the model knows only one kind.
    pub fn check_token_types(&self, token_types: usize) -> Result<()> {
        let second = |row: &ClassSpan| row.second < row.length;
        match &self.layout {
            Layout::Classes { rows } if token_types == 1 && rows.iter().any(second) => Err(Error::input(
                "the tokenizer marks the second text of a row with the token type 1, but the model knows only one type; \
                 join the two texts in a --template, or use the tokenizer that came with this model",
            )),
            _ => Ok(()),
        }
    }

    /// The largest id.
    pub fn max_id(&self) -> u32 {
        self.ids.max_id()
    }

    /// Checks that every id is one the model knows. `vocab_size` is the model's number of embeddings.
    ///
    /// # Errors
    /// When an id is too large: tokenizer and model do not belong together.
    pub fn check_vocabulary(&self, vocab_size: usize) -> Result<()> {
        if (self.max_id() as usize) < vocab_size {
            return Ok(());
        }
        Err(Error::input(format!(
            "the tokenizer gives token id {}, but the model knows only ids below {vocab_size}: tokenizer.json and the \
             model's weights do not belong together, use the tokenizer that came with this model",
            self.max_id()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::super::id_store::IdWriter;
    use super::*;

    fn store(count: u32) -> IdStore {
        let mut writer = IdWriter::new(1000);
        writer.extend(&(0..count).collect::<Vec<_>>()).expect("extend");
        writer.finish().expect("finish")
    }

    #[test]
    fn blocks_keep_a_short_end_of_two() {
        for (count, lengths) in [(8, vec![4, 4]), (9, vec![4, 4]), (10, vec![4, 4, 2]), (1, vec![]), (2, vec![2])] {
            let split = Split::blocks(store(count), 4);
            assert_eq!(split.lengths(), lengths);
            assert_eq!(split.tokens(), lengths.iter().sum::<usize>());
            assert_eq!(split.target_tokens(), lengths.iter().map(|length| length - 1).sum::<usize>());
        }
        let split = Split::blocks(store(10), 4);
        let targets = vec![false, true, true, true];
        assert_eq!(split.row(1), Row { ids: vec![4, 5, 6, 7], targets, class: None, second: 4 });
        assert_eq!(split.row(2).ids, [8, 9]);
    }

    #[test]
    fn classified_rows_have_no_targets() {
        let span = |offset, length, second, class| ClassSpan { offset, length, second, class };
        let split = Split::classes(store(6), vec![span(0, 1, 1, 2), span(1, 5, 3, 0)], 3);
        assert_eq!((split.lengths(), split.tokens(), split.target_tokens()), (vec![1, 5], 6, 2));
        assert_eq!(split.class_counts(), [1, 0, 1]);
        assert_eq!(split.row(0), Row { ids: vec![0], targets: vec![false], class: Some(2), second: 1 });
        let row = split.row(1);
        assert_eq!((row.ids, row.class, row.second), (vec![1, 2, 3, 4, 5], Some(0), 3));
        assert_eq!(row.targets, [false; 5]);
    }

    #[test]
    fn token_types_are_checked() {
        let span = |second| ClassSpan { offset: 0, length: 4, second, class: 0 };
        let one = Split::classes(store(4), vec![span(4)], 1);
        let two = Split::classes(store(8), vec![span(4), span(2)], 1);
        assert!(
            one.check_token_types(1).is_ok() && two.check_token_types(0).is_ok() && two.check_token_types(2).is_ok()
        );
        assert!(two.check_token_types(1).expect_err("one type").to_string().contains("only one type"));
    }

    #[test]
    fn vocabulary_is_checked() {
        let split = Split::blocks(store(10), 4);
        assert!(split.check_vocabulary(10).is_ok());
        let error = split.check_vocabulary(9).expect_err("too small").to_string();
        assert!(error.contains("token id 9") && error.contains("below 9"), "{error}");
    }
}
