//! How the data was understood, for a person to check before hours of training: counts, and the first row, in which
//! what is trained on is marked.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A stretch of text of the example row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The text, special tokens included.
    pub text: String,
    /// Whether it is trained on.
    pub is_target: bool,
}

/// How many rows a class has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// The class.
    pub name: String,
    /// Its rows.
    pub rows: usize,
}

/// What was found in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitReport {
    /// The file as it was given.
    pub file: String,
    /// "plain text", or the columns that were read, such as "{prompt, completion}".
    pub format: String,
    /// Number of rows (blocks, of plain text).
    pub rows: usize,
    /// Number of documents of plain text.
    pub documents: Option<usize>,
    /// Number of tokens.
    pub tokens: usize,
    /// Number of tokens that are trained on; in classification the number of rows.
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
    /// The rows of each class by number; empty in language modelling.
    #[serde(default)]
    pub classes: Vec<ClassCount>,
}

impl SplitReport {
    /// The share of tokens that are trained on, from 0 to 1.
    pub fn target_share(&self) -> f64 {
        if self.tokens == 0 { 0.0 } else { self.target_tokens as f64 / self.tokens as f64 }
    }

    /// The share of rows that the most frequent class has, from 0 to 1: what guessing it always would get right.
    pub fn most_frequent_share(&self) -> f64 {
        let most = self.classes.iter().map(|class| class.rows).max().unwrap_or(0);
        if self.rows == 0 { 0.0 } else { most as f64 / self.rows as f64 }
    }

    /// All classes, or the first of very many, with their rows.
    fn class_lines(&self, lines: &mut Vec<String>) {
        let shown = self.classes.iter().take(SHOWN_CLASSES);
        let mut counts: Vec<String> =
            shown.map(|class| format!("{} {}", printable(&class.name), grouped(class.rows))).collect();
        if self.classes.len() > SHOWN_CLASSES {
            counts.push(format!("and {} more", grouped(self.classes.len() - SHOWN_CLASSES)));
        }
        let text = format!("{} classes: {}", grouped(self.classes.len()), counts.join(", "));
        lines.extend(wrapped(&text, WIDTH).into_iter().map(|line| format!("{:LABEL$}{line}", "")));
        if let Some(most) = self.classes.iter().max_by_key(|class| class.rows) {
            let share = 100.0 * self.most_frequent_share();
            lines.push(format!(
                "{:LABEL$}the most frequent, {}, has {share:.1} % of the rows",
                "",
                printable(&most.name)
            ));
        }
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
        if self.classes.is_empty() {
            lines.push(format!(
                "{:LABEL$}{}, {} trained on ({:.1} %)",
                "",
                count(self.tokens, "token"),
                grouped(self.target_tokens),
                100.0 * self.target_share()
            ));
        } else {
            lines.push(format!("{:LABEL$}{}", "", count(self.tokens, "token")));
            self.class_lines(lines);
        }
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
    /// The test file.
    #[serde(default)]
    pub test: Option<SplitReport>,
    /// What a person might not expect, one sentence each.
    pub notes: Vec<String>,
    /// The first training row in pieces.
    pub example: Vec<Piece>,
    /// The class of the first training row; `None` in language modelling.
    #[serde(default)]
    pub example_class: Option<String>,
}

/// Width of the names on the left.
const LABEL: usize = 9;
/// Width of the example's lines.
const WIDTH: usize = 100;
/// How much of the example is shown: before what is trained on, of that, and behind it (characters).
const SHOWN_BEFORE: usize = 240;
const SHOWN_TARGET: usize = 320;
const SHOWN_BEHIND: usize = 60;
/// How many classes are listed.
const SHOWN_CLASSES: usize = 40;

impl DataReport {
    /// The report as lines for a terminal, without line ends. What is trained on in the example stands between ⟦ and ⟧.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.train.lines("train", &mut lines);
        if let Some(valid) = &self.valid {
            valid.lines("valid", &mut lines);
        }
        if let Some(test) = &self.test {
            test.lines("test", &mut lines);
        }
        for note in &self.notes {
            lines.push(format!("{:LABEL$}{note}", "note"));
        }
        lines.push(match &self.example_class {
            Some(class) => format!("{:LABEL$}the class is {}", "example", printable(class)),
            None => format!("{:LABEL$}what is trained on stands between ⟦ and ⟧", "example"),
        });
        for line in self.marked_example().split('\n').flat_map(|line| wrapped(&printable(line), WIDTH)) {
            lines.push(format!("{:LABEL$}│ {line}", "").trim_end().to_string());
        }
        lines
    }

    /// The example with marks, shortened around the start of the first target; without targets its beginning.
    fn marked_example(&self) -> String {
        if self.example_class.is_some() {
            let all: String = self.example.iter().map(|piece| piece.text.as_str()).collect();
            return keep_start(&all, SHOWN_TARGET);
        }
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
            classes: Vec::new(),
        };
        let valid = SplitReport { documents: Some(2), rows: 1, cut_rows: 0, skipped_rows: 0, ..train.clone() };
        DataReport {
            train,
            valid: Some(valid),
            test: None,
            notes: vec!["something".into()],
            example,
            example_class: None,
        }
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
             1,234,567 tokens, 123,456 trained on (10.0 %)\n         1 row longer than max_seq_length cut to 512 tokens\n         \
             7 rows skipped:\n           data/train.jsonl:3: broken\n           and 6 more\nvalid    \
             data/train.jsonl\n         2 documents of plain text in 1 block of 512 tokens\n         \
             1,234,567 tokens, 123,456 trained on (10.0 %)\nnote     something\nexample  what is trained on stands between \
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
    fn classes_are_counted() {
        let mut report = report(vec![piece("[CLS] good [SEP]", false)]);
        let class = |name: &str, rows| ClassCount { name: name.into(), rows };
        report.train.classes = vec![class("bad", 250), class("good", 750)];
        report.train.format = "{text, label}".into();
        report.train.cut_rows = 0;
        report.train.skipped_rows = 0;
        report.test = report.valid.take();
        report.notes.clear();
        report.example_class = Some("good".into());
        assert_eq!(report.train.most_frequent_share(), 0.75);
        let text = report.to_string();
        assert!(
            text.starts_with(
                "train    data/train.jsonl\n         1,000 rows of {text, label}, the longest of 512 tokens\n         \
                 1,234,567 tokens\n         2 classes: bad 250, good 750\n         the most frequent, good, has 75.0 % \
                 of the rows\ntest     data/train.jsonl\n"
            ) && text.ends_with("\nexample  the class is good\n         │ [CLS] good [SEP]"),
            "{text}"
        );
        report.train.classes = (0..1000).map(|index| class(&format!("class{index}"), 1)).collect();
        assert!(report.to_string().contains("class39 1, and 960 more\n"), "{report}");
    }

    #[test]
    fn it_survives_json() {
        let report = report(vec![piece("\u{1b}[31m", true)]);
        let json = serde_json::to_string(&report).expect("json");
        assert_eq!(serde_json::from_str::<DataReport>(&json).expect("report"), report);
        assert!(!report.to_string().contains('\u{1b}'));
    }
}
