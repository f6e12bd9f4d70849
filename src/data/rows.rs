//! Text rows become token rows: encoding in batches, marking targets, cutting, refusing rows that teach nothing.
//!
//! What a row's columns mean is read elsewhere (`language`); this knows only segments of text and which parts of them are
//! trained on. Also here: how bad rows are refused or counted.

use std::ops::Range;

use super::id_store::IdWriter;
use super::source::Source;
use super::split::{RowSpan, Split};
use super::tokenizer::{EncodedText, Tokenizer};
use crate::error::{Error, Result};

/// How many reasons of skipped rows are kept for the report.
const KEPT_REASONS: usize = 5;
/// Rows are tokenised together up to this number and this many bytes.
pub(crate) const BATCH_ROWS: usize = 512;
pub(crate) const BATCH_BYTES: usize = 256 << 10;

/// Bad rows: an error, or counted when they may be skipped.
pub(crate) struct Refusals {
    skip: bool,
    /// Number of rows skipped.
    pub count: usize,
    /// Why, for the first few.
    pub reasons: Vec<String>,
}

impl Refusals {
    pub(crate) fn new(skip: bool) -> Self {
        Self { skip, count: 0, reasons: Vec::new() }
    }

    /// Refuses what stands at `line` of `source`.
    pub(crate) fn refuse(&mut self, source: &Source, line: usize, reason: &str) -> Result<()> {
        let message = format!("{}: {reason}", source.place(line));
        if !self.skip {
            return Err(Error::input(message));
        }
        self.count += 1;
        if self.reasons.len() < KEPT_REASONS {
            self.reasons.push(message);
        }
        Ok(())
    }
}

/// What bytes that are no UTF-8 get as a reason; `bytes` must be invalid at `at`.
pub(crate) fn not_utf8(bytes: &[u8], at: usize) -> String {
    let byte = bytes.get(at).copied().unwrap_or_default();
    format!("the byte 0x{byte:02X} is not UTF-8 text: save the file as UTF-8, or skip bad rows")
}

/// What of a segment is a target.
pub(crate) enum Target {
    All,
    None,
    /// Byte ranges of the segment's text, sorted.
    Spans(Vec<Range<usize>>),
}

/// A text that is tokenised on its own.
pub(crate) struct Segment {
    pub text: String,
    pub target: Target,
}

/// A row before tokenisation.
pub(crate) struct RowText {
    /// Its line in the file, counted from 1.
    pub line: usize,
    pub segments: Vec<Segment>,
    /// Whether the tokenizer's own begin tokens are written before it.
    pub with_prefix: bool,
    /// Whether the end token is written behind it (as a target).
    pub with_end: bool,
}

/// Collects rows into a [`Split`].
pub(crate) struct RowCollector<'a> {
    tokenizer: &'a Tokenizer,
    source: &'a Source,
    max_length: usize,
    ids: IdWriter,
    rows: Vec<RowSpan>,
    targets: Vec<(u32, u32)>,
    waiting: Vec<RowText>,
    waiting_bytes: usize,
    /// Rows that were longer than the limit.
    pub cut: usize,
    /// Rows refused.
    pub refusals: Refusals,
}

impl<'a> RowCollector<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer, source: &'a Source, max_length: usize, skip_bad_rows: bool) -> Self {
        Self {
            tokenizer,
            source,
            max_length,
            ids: IdWriter::new(tokenizer.id_bound()).counting(tokenizer.unknown_id()),
            rows: Vec::new(),
            targets: Vec::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            cut: 0,
            refusals: Refusals::new(skip_bad_rows),
        }
    }

    /// Refuses a row that could not be read.
    pub(crate) fn refuse(&mut self, line: usize, reason: &str) -> Result<()> {
        // Errors come in the order of the file, whatever is still waiting.
        self.flush()?;
        self.refusals.refuse(self.source, line, reason)
    }

    /// Takes a row.
    pub(crate) fn push(&mut self, row: RowText) -> Result<()> {
        self.waiting_bytes += row.segments.iter().map(|segment| segment.text.len()).sum::<usize>();
        self.waiting.push(row);
        if self.waiting.len() >= BATCH_ROWS || self.waiting_bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Ends collecting.
    pub(crate) fn finish(mut self) -> Result<(Split, usize, Refusals)> {
        self.flush()?;
        Ok((Split::rows(self.ids.finish()?, self.rows, self.targets), self.cut, self.refusals))
    }

    fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        match encode(self.tokenizer, &rows) {
            Ok(encoded) => {
                let mut encoded = encoded.into_iter();
                for row in &rows {
                    let texts = encoded.by_ref().take(row.segments.len()).collect();
                    self.add(row, texts)?;
                }
            }
            // One text stops a whole batch: find it by taking them one by one.
            Err(_) => {
                for row in &rows {
                    match encode(self.tokenizer, std::slice::from_ref(row)) {
                        Ok(texts) => self.add(row, texts)?,
                        Err(e) => self.refusals.refuse(self.source, row.line, &e.to_string())?,
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, row: &RowText, texts: Vec<EncodedText>) -> Result<()> {
        let mut ids = Vec::new();
        let mut flags = Vec::new();
        if row.with_prefix {
            ids.extend(self.tokenizer.prefix());
            // In a row without a prompt the begin token's own prediction would be a target like any other.
            flags.resize(ids.len(), matches!(row.segments.first(), Some(Segment { target: Target::All, .. })));
        }
        for (segment, encoded) in row.segments.iter().zip(texts) {
            match &segment.target {
                Target::All => flags.resize(flags.len() + encoded.ids.len(), true),
                Target::None => flags.resize(flags.len() + encoded.ids.len(), false),
                Target::Spans(spans) => flags.extend(span_flags(self.tokenizer, &segment.text, &encoded, spans)),
            }
            ids.extend(encoded.ids);
        }
        if row.with_end {
            ids.extend(self.tokenizer.suffix());
            if let Some(&end) = self.tokenizer.eos_ids().first()
                && ids.last() != Some(&end)
            {
                ids.push(end);
            }
            flags.resize(ids.len(), true);
        }
        if let Some(first) = flags.first_mut() {
            *first = false;
        }
        let had_target = flags.contains(&true);
        let length = ids.len();
        let cut = length > self.max_length;
        if cut {
            ids.truncate(self.max_length);
            flags.truncate(self.max_length);
        }
        if !flags.contains(&true) {
            let reason = if had_target {
                let start = flags.len();
                format!(
                    "the prompt fills all {start} tokens of max_seq_length, so no answer is left: raise max_seq_length \
                     (the whole row has {length} tokens), shorten the prompt, or skip bad rows"
                )
            } else {
                "nothing in this row can be trained on (the text to train on is empty): fill it, remove the row, or skip bad \
                 rows"
                    .to_string()
            };
            return self.refusals.refuse(self.source, row.line, &reason);
        }
        self.cut += usize::from(cut);
        let first_target = self.targets.len();
        self.targets.extend(ranges(&flags));
        self.rows.push(RowSpan {
            offset: self.ids.len() as u64,
            length: ids.len() as u32,
            target_count: (self.targets.len() - first_target) as u32,
            first_target: first_target as u64,
        });
        self.ids.extend(&ids)
    }
}

/// The texts of all segments in order. Offsets are asked for only where a segment has spans.
fn encode(tokenizer: &Tokenizer, rows: &[RowText]) -> Result<Vec<EncodedText>> {
    let segments = || rows.iter().flat_map(|row| &row.segments);
    let texts: Vec<&str> = segments().map(|segment| segment.text.as_str()).collect();
    if segments().any(|segment| matches!(segment.target, Target::Spans(_))) {
        return tokenizer.encode_many_with_ends(texts);
    }
    let ids = tokenizer.encode_many(texts)?;
    Ok(ids.into_iter().map(|ids| EncodedText { ids, ends: Vec::new() }).collect())
}

/// Which tokens lie in `spans`. A token reaches from the end of the one before to its own end, which is right whatever
/// a tokenizer's offsets do with white space. One that begins before a span and ends inside is in; one that reaches
/// beyond its end is out. White space behind the special token that ends a span (a template's line break behind the end
/// token) is out: a model that stops at the end token never writes it.
fn span_flags(tokenizer: &Tokenizer, text: &str, encoded: &EncodedText, spans: &[Range<usize>]) -> Vec<bool> {
    let mut flags = vec![false; encoded.ids.len()];
    for span in spans {
        let mut start = 0;
        let mut ends_at = None;
        let mut members = Vec::new();
        for (index, (&id, &end)) in encoded.ids.iter().zip(&encoded.ends).enumerate() {
            // Several tokens of one character all end where it ends.
            let same = index > 0 && end <= start && members.last() == Some(&(index - 1));
            if same || (end > start.max(span.start) && end <= span.end && start < span.end) {
                members.push(index);
                let written = |token: &str| text.get(..end).is_some_and(|before| before.ends_with(token));
                let rest_is_blank = || text.get(end..span.end).is_some_and(|rest| rest.trim().is_empty());
                if ends_at.is_none() && tokenizer.special_text(id).is_some_and(written) && rest_is_blank() {
                    ends_at = Some(index);
                }
            }
            start = start.max(end);
        }
        if let Some(end) = ends_at {
            members.retain(|&index| index <= end);
        }
        for index in members {
            flags[index] = true;
        }
    }
    flags
}

/// The runs of true.
fn ranges(flags: &[bool]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for (index, _) in flags.iter().enumerate().filter(|(_, flag)| **flag) {
        let index = index as u32;
        match runs.last_mut() {
            Some(run) if run.1 == index => run.1 += 1,
            _ => runs.push((index, index + 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_true() {
        let flags = [false, true, true, false, true];
        assert_eq!(ranges(&flags), [(1, 3), (4, 5)]);
        assert_eq!(ranges(&[]), []);
    }
}
