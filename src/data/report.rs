//! How the data was understood, for a person to check before hours of training: counts, and the first row with what is
//! learnt in it marked.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A stretch of text of the example row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The text, special tokens included.
    pub text: String,
    /// Whether it is learnt.
    pub is_target: bool,
}

/// What was found in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitReport {
    /// The file as it was given.
    pub file: String,
    /// "plain text", "{text}", "{prompt, completion}" or "{messages}".
    pub format: String,
    /// Number of rows (blocks, of plain text).
    pub rows: usize,
    /// Number of documents of plain text.
    pub documents: Option<usize>,
    /// Number of tokens.
    pub tokens: usize,
    /// Number of tokens that are learnt.
    pub target_tokens: usize,
    /// Number of tokens that stand for text the tokenizer has no token for.
    pub unknown_tokens: usize,
    /// Tokens of the longest row.
    pub longest_row: usize,
    /// Rows that were longer than `max_seq_length` and have been cut.
    pub cut_rows: usize,
    /// The limit they were cut at.
    pub max_seq_length: usize,
    /// Rows that could not be used.
    pub skipped_rows: usize,
    /// Why, for the first few of them.
    pub skipped_reasons: Vec<String>,
}

impl SplitReport {
    /// The share of tokens that are learnt, from 0 to 1.
    pub fn target_share(&self) -> f64 {
        if self.tokens == 0 { 0.0 } else { self.target_tokens as f64 / self.tokens as f64 }
    }

    fn lines(&self, name: &str, lines: &mut Vec<String>) {
        lines.push(format!("{name:LABEL$}{}", self.file));
        let rows = match self.documents {
            Some(documents) => format!(
                "{} of plain text in {} of {} tokens",
                count(documents, "document"),
                count(self.rows, "block"),
                grouped(self.longest_row)
            ),
            None => {
                format!(
                    "{} of {}, the longest of {}",
                    count(self.rows, "row"),
                    self.format,
                    count(self.longest_row, "token")
                )
            }
        };
        lines.push(format!("{:LABEL$}{rows}", ""));
        lines.push(format!(
            "{:LABEL$}{}, {} learnt ({:.1} %)",
            "",
            count(self.tokens, "token"),
            grouped(self.target_tokens),
            100.0 * self.target_share()
        ));
        if self.unknown_tokens > 0 {
            lines.push(format!(
                "{:LABEL$}{} unknown to the tokenizer ({:.1} %): the model cannot learn what they stand for",
                "",
                count(self.unknown_tokens, "token"),
                100.0 * self.unknown_tokens as f64 / self.tokens.max(1) as f64
            ));
        }
        if self.cut_rows > 0 {
            lines.push(format!(
                "{:LABEL$}{} longer than max_seq_length cut to {} tokens",
                "",
                count(self.cut_rows, "row"),
                grouped(self.max_seq_length)
            ));
        }
        if self.skipped_rows > 0 {
            lines.push(format!("{:LABEL$}{} skipped:", "", count(self.skipped_rows, "row")));
            for reason in &self.skipped_reasons {
                lines.push(format!("{:LABEL$}  {reason}", ""));
            }
            let more = self.skipped_rows.saturating_sub(self.skipped_reasons.len());
            if more > 0 {
                lines.push(format!("{:LABEL$}  and {} more", "", grouped(more)));
            }
        }
    }
}

/// How a data set was understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataReport {
    /// The training file.
    pub train: SplitReport,
    /// The validation file.
    pub valid: Option<SplitReport>,
    /// What a person might not expect, one sentence each.
    pub notes: Vec<String>,
    /// The first training row in pieces.
    pub example: Vec<Piece>,
}

/// Width of the names on the left.
const LABEL: usize = 9;
/// Width of the example's lines.
const WIDTH: usize = 100;
/// How much of the example is shown: before what is learnt, of what is learnt, and behind it (characters).
const SHOWN_BEFORE: usize = 240;
const SHOWN_TARGET: usize = 320;
const SHOWN_BEHIND: usize = 60;

impl DataReport {
    /// The report as lines for a terminal, without line ends. What is learnt of the example stands between ⟦ and ⟧.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.train.lines("train", &mut lines);
        if let Some(valid) = &self.valid {
            valid.lines("valid", &mut lines);
        }
        for note in &self.notes {
            lines.push(format!("{:LABEL$}{note}", "note"));
        }
        lines.push(format!("{:LABEL$}what is learnt stands between ⟦ and ⟧", "example"));
        for line in self.marked_example().split('\n').flat_map(|line| wrapped(&printable(line), WIDTH)) {
            lines.push(format!("{:LABEL$}│ {line}", "").trim_end().to_string());
        }
        lines
    }

    /// The example with marks, shortened around the start of the first target.
    fn marked_example(&self) -> String {
        let first = self.example.iter().position(|piece| piece.is_target).unwrap_or(0);
        let mut text = String::new();
        let before: String = self.example[..first].iter().map(|piece| piece.text.as_str()).collect();
        text += &keep_end(&before, SHOWN_BEFORE);
        let mut room = SHOWN_TARGET;
        for piece in &self.example[first..] {
            let length = piece.text.chars().count();
            let limit = if piece.is_target { room } else { room.min(SHOWN_BEHIND.max(room / 2)) };
            let (open, close) = if piece.is_target { ("⟦", "⟧") } else { ("", "") };
            text += &format!("{open}{}{close}", keep_start(&piece.text, limit));
            room = room.saturating_sub(length);
            if room == 0 {
                break;
            }
        }
        text.trim_end_matches('\n').to_string()
    }
}

impl fmt::Display for DataReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

/// The last `limit` characters, with a mark where there were more.
fn keep_end(text: &str, limit: usize) -> String {
    let surplus = text.chars().count().saturating_sub(limit);
    match text.char_indices().nth(surplus) {
        Some((at, _)) if surplus > 0 => format!("… {}", &text[at..]),
        _ => text.to_string(),
    }
}

/// The first `limit` characters, with a mark where there are more.
fn keep_start(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text.to_string(),
    }
}

/// Control characters would move the cursor or colour the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// A line in parts of at most `width` characters, broken at spaces where there are any.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some((limit, _)) = rest.char_indices().nth(width) {
        let at = rest[..limit].rfind(' ').map_or(limit, |space| space + 1);
        parts.push(rest[..at].trim_end().to_string());
        rest = &rest[at..];
    }
    parts.push(rest.to_string());
    parts
}

/// "1 row", "1,234 rows".
fn count(number: usize, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// 1234567 as "1,234,567".
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(example: Vec<Piece>) -> DataReport {
        let train = SplitReport {
            file: "data/train.jsonl".into(),
            format: "{messages}".into(),
            rows: 1000,
            documents: None,
            tokens: 1_234_567,
            target_tokens: 123_456,
            unknown_tokens: 0,
            longest_row: 512,
            cut_rows: 1,
            max_seq_length: 512,
            skipped_rows: 7,
            skipped_reasons: vec!["data/train.jsonl:3: broken".into()],
        };
        let valid = SplitReport { documents: Some(2), rows: 1, cut_rows: 0, skipped_rows: 0, ..train.clone() };
        DataReport { train, valid: Some(valid), notes: vec!["something".into()], example }
    }

    fn piece(text: &str, is_target: bool) -> Piece {
        Piece { text: text.into(), is_target }
    }

    #[test]
    fn it_reads_well() {
        let report = report(vec![piece("<s>Q\n", false), piece("A</s>", true), piece("\n", false)]);
        assert_eq!(
            report.to_string(),
            "train    data/train.jsonl\n         1,000 rows of {messages}, the longest of 512 tokens\n         \
             1,234,567 tokens, 123,456 learnt (10.0 %)\n         1 row longer than max_seq_length cut to 512 tokens\n         \
             7 rows skipped:\n           data/train.jsonl:3: broken\n           and 6 more\nvalid    \
             data/train.jsonl\n         2 documents of plain text in 1 block of 512 tokens\n         \
             1,234,567 tokens, 123,456 learnt (10.0 %)\nnote     something\nexample  what is learnt stands between \
             ⟦ and ⟧\n         │ <s>Q\n         │ ⟦A</s>⟧"
        );
    }

    #[test]
    fn long_examples_are_shortened_around_the_target() {
        let report = report(vec![piece(&"p".repeat(9000), false), piece(&"é".repeat(9000), true)]);
        let text = report.marked_example();
        assert!(text.starts_with("… ppp") && text.contains("p⟦é") && text.ends_with("é …⟧"), "{text}");
        assert!(text.chars().count() < 600);
    }

    #[test]
    fn long_lines_are_wrapped_at_spaces() {
        assert_eq!(wrapped("ab cd éf", 5), ["ab", "cd éf"]);
        assert_eq!(wrapped("ééééééé", 3), ["ééé", "ééé", "é"]);
        assert_eq!(wrapped("", 3), [""]);
    }

    #[test]
    fn it_survives_json() {
        let report = report(vec![piece("\u{1b}[31m", true)]);
        let json = serde_json::to_string(&report).expect("json");
        assert_eq!(serde_json::from_str::<DataReport>(&json).expect("report"), report);
        assert!(!report.to_string().contains('\u{1b}'));
    }
}
