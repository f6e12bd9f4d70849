//! Which rows come when, and rows padded to one width.
//!
//! The plan is a pure function of (seed, batch number), so a resumed run needs to remember only a number. Nothing here
//! knows a device: a batch is vectors of integers.

use super::split::{Row, Split};
use crate::error::{Error, Result};
use crate::rng::Stream;

/// The label of a position whose prediction does not count.
pub const IGNORED_LABEL: i32 = -100;

/// Rows are sorted by length inside windows of this many batches: enough to leave little padding, few enough that an
/// epoch stays well mixed.
const WINDOW_BATCHES: usize = 64;

/// The order of rows over all epochs.
#[derive(Clone, Debug)]
pub struct BatchPlan {
    lengths: Vec<u32>,
    batch_size: usize,
    seed: u64,
    /// The epoch worked out last, and its batches.
    cached: Option<(u64, Vec<Vec<usize>>)>,
}

impl BatchPlan {
    /// A plan for rows of `lengths` (in tokens), `batch_size` rows a batch.
    ///
    /// # Errors
    /// When there are no rows or the batch size is zero.
    pub fn new(lengths: &[usize], batch_size: usize, seed: u64) -> Result<Self> {
        check(lengths, batch_size)?;
        let lengths = lengths.iter().map(|&length| u32::try_from(length).unwrap_or(u32::MAX)).collect();
        Ok(Self { lengths, batch_size, seed, cached: None })
    }

    /// Number of batches of an epoch. None is dropped; the last may have fewer rows.
    pub fn batches_per_epoch(&self) -> u64 {
        self.lengths.len().div_ceil(self.batch_size) as u64
    }

    /// The rows of batch `k`, counted over all epochs. Each row comes exactly once in an epoch.
    pub fn rows(&mut self, k: u64) -> Vec<usize> {
        let per_epoch = self.batches_per_epoch();
        let (epoch, index) = (k / per_epoch, (k % per_epoch) as usize);
        if self.cached.as_ref().is_none_or(|(cached, _)| *cached != epoch) {
            self.cached = Some((epoch, self.epoch(epoch)));
        }
        self.cached.as_ref().map(|(_, batches)| batches[index].clone()).unwrap_or_default()
    }

    /// All batches of an epoch: shuffled, sorted by length inside windows, cut, and the batches shuffled.
    fn epoch(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut stream = Stream::new(self.seed, &format!("order/{epoch}"));
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        stream.shuffle(&mut order);
        // A stable sort: rows of one length stay as they were shuffled.
        for window in order.chunks_mut(self.batch_size.saturating_mul(WINDOW_BATCHES)) {
            window.sort_by_key(|&row| self.lengths[row]);
        }
        let mut batches: Vec<Vec<usize>> = order.chunks(self.batch_size).map(<[usize]>::to_vec).collect();
        // The short batch stays the last.
        let whole = self.lengths.len() / self.batch_size;
        stream.shuffle(&mut batches[..whole]);
        batches
    }
}

/// All rows once, for evaluation: sorted by length, longest last, always the same.
///
/// # Errors
/// When there are no rows or the batch size is zero.
pub fn sequential(lengths: &[usize], batch_size: usize) -> Result<Vec<Vec<usize>>> {
    check(lengths, batch_size)?;
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&row| lengths[row]);
    Ok(order.chunks(batch_size).map(<[usize]>::to_vec).collect())
}

fn check(lengths: &[usize], batch_size: usize) -> Result<()> {
    if batch_size == 0 {
        return Err(Error::input("the batch size is 0: it must be at least 1"));
    }
    if lengths.is_empty() {
        return Err(Error::input("there are no rows to make batches of"));
    }
    Ok(())
}

/// Rows padded on the right to one width. All vectors are row-major, `row_count * width` long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Token ids; the padding id behind a row's end.
    pub ids: Vec<i32>,
    /// The id again where it is a target, else [`IGNORED_LABEL`]. Not shifted: what predicts `labels[t]` is the output
    /// at `t - 1`.
    pub labels: Vec<i32>,
    /// 1 where there is a token, 0 where there is padding.
    pub attention_mask: Vec<u8>,
    /// Number of rows.
    pub row_count: usize,
    /// Tokens a row, padding included.
    pub width: usize,
    /// Number of labels that count; in classification the number of rows.
    pub target_tokens: usize,
    /// Number of tokens, padding left out.
    pub tokens: usize,
    /// The class of each row (`row_count` long); empty in language modelling.
    pub classes: Vec<i32>,
    /// 1 from a row's second text on, else 0; empty where no row has a second text.
    pub token_types: Vec<i32>,
}

impl Batch {
    /// Takes `rows` of `split`, pads them to the longest rounded up to a multiple of `round_to`, but to no more than
    /// `max_width` tokens (a row that is longer is cut).
    ///
    /// # Panics
    /// When a row number is not below [`Split::len`].
    pub fn assemble(split: &Split, rows: &[usize], pad_id: u32, round_to: usize, max_width: usize) -> Self {
        let longest = rows.iter().map(|&row| split.row_length(row)).max().unwrap_or(0);
        let rows: Vec<Row> = rows.iter().map(|&row| split.row(row)).collect();
        let has_second = rows.iter().any(|row| row.second < row.ids.len());
        let width = longest.next_multiple_of(round_to.max(1)).min(max_width.max(1));
        let size = rows.len() * width;
        let mut batch = Self {
            ids: vec![pad_id as i32; size],
            labels: vec![IGNORED_LABEL; size],
            attention_mask: vec![0; size],
            row_count: rows.len(),
            width,
            target_tokens: 0,
            tokens: 0,
            classes: rows.iter().filter_map(|row| row.class).map(|class| class as i32).collect(),
            token_types: vec![0; if has_second { size } else { 0 }],
        };
        batch.target_tokens = batch.classes.len();
        for (index, row) in rows.iter().enumerate() {
            let start = index * width;
            for (position, (&id, &target)) in row.ids.iter().zip(&row.targets).take(width).enumerate() {
                batch.ids[start + position] = id as i32;
                batch.attention_mask[start + position] = 1;
                batch.tokens += 1;
                if target && position > 0 {
                    batch.labels[start + position] = id as i32;
                    batch.target_tokens += 1;
                }
                if has_second && position >= row.second {
                    batch.token_types[start + position] = 1;
                }
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::super::classify::ClassifySettings;
    use super::super::dataset::Dataset;
    use super::super::settings::{DataSettings, DataTask};
    use super::super::source::Source;
    use super::super::testing::{bert_tokenizer, byte_level_tokenizer};
    use super::*;

    fn lengths(count: usize) -> Vec<usize> {
        let mut stream = Stream::new(3, "lengths");
        (0..count).map(|_| 5 + stream.below(500) as usize).collect()
    }

    fn padding_share(batches: &[Vec<usize>], lengths: &[usize]) -> f64 {
        let used: usize = lengths.iter().sum();
        let padded: usize =
            batches.iter().map(|rows| rows.len() * rows.iter().map(|&row| lengths[row]).max().unwrap_or(0)).sum();
        1.0 - used as f64 / padded as f64
    }

    #[test]
    fn each_row_comes_once_in_an_epoch() {
        for (count, size) in [(1, 4), (4, 4), (5, 4), (1003, 8), (7, 1)] {
            let lengths = lengths(count);
            let mut plan = BatchPlan::new(&lengths, size, 11).expect("plan");
            let per_epoch = plan.batches_per_epoch();
            assert_eq!(per_epoch as usize, count.div_ceil(size));
            for epoch in 0..3 {
                let batches: Vec<Vec<usize>> = (0..per_epoch).map(|k| plan.rows(epoch * per_epoch + k)).collect();
                assert!(batches[..batches.len() - 1].iter().all(|batch| batch.len() == size));
                let mut rows = batches.concat();
                rows.sort_unstable();
                assert_eq!(rows, (0..count).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_batch_depends_on_seed_and_number_only() {
        let lengths = lengths(300);
        let mut forward = BatchPlan::new(&lengths, 8, 5).expect("plan");
        let batches: Vec<Vec<usize>> = (0..120).map(|k| forward.rows(k)).collect();
        let mut random = BatchPlan::new(&lengths, 8, 5).expect("plan");
        for k in [119, 0, 60, 38, 37, 119, 1] {
            assert_eq!(random.rows(k), batches[k as usize]);
        }
        let mut other = BatchPlan::new(&lengths, 8, 6).expect("plan");
        assert!((0..120).any(|k| other.rows(k) != batches[k as usize]));
        assert_ne!(batches[..38], batches[38..76]);
    }

    #[test]
    fn bucketing_saves_padding() {
        let lengths = lengths(4000);
        let mut plan = BatchPlan::new(&lengths, 8, 1).expect("plan");
        let bucketed: Vec<Vec<usize>> = (0..plan.batches_per_epoch()).map(|k| plan.rows(k)).collect();
        let mut order: Vec<usize> = (0..4000).collect();
        Stream::new(1, "plain").shuffle(&mut order);
        let plain: Vec<Vec<usize>> = order.chunks(8).map(<[usize]>::to_vec).collect();
        let (with, without) = (padding_share(&bucketed, &lengths), padding_share(&plain, &lengths));
        assert!(with < 0.03 && without > 0.3, "{with} {without}");
        // The order of lengths over the epoch is mixed all the same.
        let means: Vec<usize> = bucketed.iter().map(|rows| lengths[rows[0]]).collect();
        assert!(means.windows(2).filter(|pair| pair[0] > pair[1]).count() > 150);
    }

    #[test]
    fn evaluation_order_is_fixed() {
        assert_eq!(sequential(&[5, 1, 3, 1], 3).expect("batches"), [vec![1, 3, 2], vec![0]]);
        assert!(sequential(&[], 3).is_err() && sequential(&[1], 0).is_err() && BatchPlan::new(&[], 1, 0).is_err());
    }

    #[test]
    fn batches_are_padded_and_labelled() {
        let text = "{\"prompt\": \"ab\", \"completion\": \"c\"}\n{\"prompt\": \"a\", \"completion\": \"bcdefghi\"}";
        let source = Source::from_bytes("t", text.as_bytes().to_vec()).expect("source");
        let tokenizer = byte_level_tokenizer();
        let data = Dataset::from_sources(source, None, &DataSettings::default(), &tokenizer).expect("data");
        let batch = Batch::assemble(&data.train, &[0], 9, 8, 512);
        let (a, b, c, end) = (i32::from(b'a'), i32::from(b'b'), i32::from(b'c'), 256);
        assert_eq!(batch.ids, [a, b, c, end, 9, 9, 9, 9]);
        assert_eq!(batch.labels, [-100, -100, c, end, -100, -100, -100, -100]);
        assert_eq!(batch.attention_mask, [1, 1, 1, 1, 0, 0, 0, 0]);
        assert_eq!((batch.row_count, batch.width, batch.tokens, batch.target_tokens), (1, 8, 4, 2));
        assert!(batch.classes.is_empty() && batch.token_types.is_empty());
        let batch = Batch::assemble(&data.train, &[1, 0], 9, 8, 512);
        assert_eq!((batch.row_count, batch.width, batch.tokens, batch.target_tokens), (2, 16, 14, 11));
        assert_eq!(batch.labels[16..20], [-100, -100, c, end]);
        assert_eq!(Batch::assemble(&data.train, &[1, 0], 9, 8, 10).width, 10);
        assert_eq!(Batch::assemble(&data.train, &[1], 9, 1, 512).width, 10);
    }

    #[test]
    fn classified_rows_have_classes_and_token_types() {
        let task = DataTask::Classify(ClassifySettings::default());
        let settings = DataSettings { task, ..DataSettings::default() };
        let load = |text: &str| {
            let source = Source::from_bytes("t", text.as_bytes().to_vec()).expect("source");
            Dataset::from_sources(source, None, &settings, &bert_tokenizer()).expect("data")
        };
        let data = load(
            "{\"text\": \"hello\", \"text2\": \"world\", \"label\": \"b\"}\n\
             {\"text\": \"hello hello\", \"text2\": \"world\", \"label\": \"a\"}",
        );
        let batch = Batch::assemble(&data.train, &[0, 1], 0, 8, 512);
        assert_eq!(batch.ids[..8], [101, 7592, 102, 2088, 102, 0, 0, 0]);
        assert_eq!(batch.token_types, [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0]);
        assert_eq!((batch.classes, batch.target_tokens, batch.tokens), (vec![1, 0], 2, 11));
        assert_eq!(batch.labels, [IGNORED_LABEL; 16]);
        let data = load("{\"text\": \"hello\", \"label\": 0}\n{\"text\": \"world\", \"label\": 1}");
        let batch = Batch::assemble(&data.train, &[1], 0, 1, 512);
        assert_eq!((batch.width, batch.classes), (3, vec![1]));
        assert!(batch.token_types.is_empty());
    }
}
