//! Rows for classification: which columns are the label and the text, and the ids of the text as a model reads it.
//!
//! What labels mean as classes stands in `labels`, how a template makes a text of columns in `text_template`.

use serde_json::Value;

use super::id_store::IdWriter;
use super::labels::{Classes, label_name};
use super::record::{Record, column_names, string, type_name};
use super::records;
use super::rows::{BATCH_BYTES, BATCH_ROWS, Refusals};
use super::source::Source;
use super::split::{ClassSpan, Split};
use super::text_pair::{EncodedPair, TextPair};
use super::text_template::TextTemplate;
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// How rows are classified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassifySettings {
    /// What the model reads, with columns as placeholders, such as `Review: {text}`. `None`: the text alone, or two
    /// texts as the tokenizer writes a pair.
    pub template: Option<String>,
    /// The names of the classes by number. `None`: those that the training rows have.
    pub classes: Option<Vec<String>>,
}

/// The names that a label's column may have, the most telling first; large and small letters are alike.
const LABELS: &[&str] = &["label", "labels", "class", "target"];
/// Those of the text's column.
const TEXTS: &[&str] = &["text", "sentence", "sentence1", "question", "question1", "premise", "content", "review"];
/// Those of a second text's column.
const SECOND_TEXTS: &[&str] = &["text2", "sentence2", "question2", "hypothesis"];
/// Columns that are a text and a second one only together.
const QUESTION_AND_SENTENCE: (&str, &str) = ("question", "sentence");

/// From this many classes on it is worth a note when there are hardly more rows than classes.
const SUSPICIOUS_CLASSES: usize = 16;

/// Which columns are read.
struct Columns {
    label: String,
    text: Texts,
}

enum Texts {
    One(String),
    Two(String, String),
    /// A template and the column that each of its placeholders means.
    Template(TextTemplate, Vec<String>),
}

/// What was read of a file.
pub(crate) struct ClassRows {
    pub split: Split,
    /// The columns read, as the report calls them.
    pub format: String,
    /// Rows that were longer than the limit.
    pub cut: usize,
    pub refusals: Refusals,
    /// What a person might not expect.
    pub notes: Vec<String>,
}

/// Reads all rows of `source`. `classes` is added to where it still collects; the rows have its final numbers.
pub(crate) fn read(
    source: &Source,
    tokenizer: &Tokenizer,
    template: Option<&str>,
    max_length: usize,
    skip_bad_rows: bool,
    classes: &mut Classes,
) -> Result<ClassRows> {
    let template = template.map(TextTemplate::parse).transpose()?;
    let mut rows = ClassCollector::new(source, tokenizer, max_length, skip_bad_rows);
    let mut columns: Option<Columns> = None;
    records::read(source, &mut |line, record| {
        let mut read = |record: Record| {
            if columns.is_none() {
                columns = Some(Columns::of(&record, template.as_ref())?);
            }
            let Some(columns) = &columns else { return Err(String::new()) };
            let texts = columns.texts(&record)?;
            if texts.is_blank() {
                return Err("the text is empty: fill it, remove the row, or skip bad rows".into());
            }
            Ok((texts, classes.number(&label_name(record.get(&columns.label), &columns.label)?)?))
        };
        match record.and_then(&mut read) {
            Ok((texts, class)) => rows.push(line, texts, class),
            Err(reason) => rows.refuse(line, &reason),
        }
    })?;
    rows.flush()?;
    let ClassCollector { ids, mut spans, cut, refusals, .. } = rows;
    if !spans.is_empty() {
        let order = classes.settle(source)?;
        spans.iter_mut().for_each(|span| span.class = order[span.class as usize]);
    }
    let split = Split::classes(ids.finish()?, spans, classes.names().len());
    let mut notes: Vec<String> = columns.iter().flat_map(|columns| columns.notes(tokenizer)).collect();
    let used = split.class_counts().iter().filter(|&&rows| rows > 0).count();
    if let Some(columns) = &columns
        && used >= SUSPICIOUS_CLASSES
        && used * 2 > split.len()
    {
        notes.push(format!(
            "{} has {used} classes in {} rows: is \"{}\" really the label?",
            source.name(),
            split.len(),
            columns.label
        ));
    }
    let format = columns.map_or("no rows".into(), |columns| columns.format());
    Ok(ClassRows { split, format, cut, refusals, notes })
}

/// The ids of a text, or two, exactly as training rows of the same `template` have them, and from which position on the
/// token type is 1 (the number of ids where there is no second text). In a template the texts are `{text}` and
/// `{text2}`.
///
/// # Errors
/// When there is nothing in the text, the template is broken or names something else, or the text cannot be encoded.
pub fn encode_for_classification(
    tokenizer: &Tokenizer,
    text: &str,
    text2: Option<&str>,
    template: Option<&str>,
    max_seq_length: usize,
) -> Result<(Vec<u32>, usize)> {
    let pair = match template {
        None => TextPair { first: text.into(), second: text2.map(String::from) },
        Some(template) => {
            let first = TextTemplate::parse(template)?.fill(|name| match (name, text2) {
                ("text", _) => Ok(text.to_string()),
                ("text2", Some(text2)) => Ok(text2.to_string()),
                _ => Err(Error::input(format!(
                    "the template \"{template}\" names {{{name}}}, but there is only {}",
                    if text2.is_some() { "{text} and {text2}" } else { "{text}" }
                ))),
            })?;
            TextPair { first, second: None }
        }
    };
    let blank = || Error::input("the text is empty: there is nothing to classify");
    if pair.is_blank() {
        return Err(blank());
    }
    match tokenizer.encode_pairs(&[pair], max_seq_length)?.pop() {
        Some(EncodedPair { ids, second, .. }) if !ids.is_empty() => Ok((ids, second)),
        _ => Err(blank()),
    }
}

/// The column of `record` that has one of `names`.
fn find(record: &Record, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| record.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned())
}

impl Columns {
    /// Finds the columns by their names in the first row.
    fn of(record: &Record, template: Option<&TextTemplate>) -> Result<Self, String> {
        let there = || column_names(record);
        let label = find(record, LABELS).ok_or_else(|| {
            format!("no column is the label: it must be called {}; the columns are {}", LABELS.join(", "), there())
        })?;
        let (question, sentence) = QUESTION_AND_SENTENCE;
        let (first, second) = match (find(record, &[question]), find(record, &[sentence])) {
            (Some(question), Some(sentence)) if find(record, &["text"]).is_none() => (Some(question), Some(sentence)),
            _ => (find(record, TEXTS), find(record, SECOND_TEXTS)),
        };
        if let Some(template) = template {
            let column = |name: &str| {
                let own = record.contains_key(name).then(|| name.to_string()).or_else(|| find(record, &[name]));
                // In a template the texts can be called by one name in all data sets.
                let meant = own.or(match name {
                    "text" => first.clone(),
                    "text2" => second.clone(),
                    _ => None,
                });
                match meant {
                    Some(column) if column == label => Err(format!(
                        "the template names {{{name}}}, which is the label: the model must not read its own answer"
                    )),
                    Some(column) => Ok(column),
                    None => Err(format!("the template names {{{name}}}, but the columns are {}", there())),
                }
            };
            let columns = template.columns().map(column).collect::<Result<_, _>>()?;
            return Ok(Self { label, text: Texts::Template(template.clone(), columns) });
        }
        let text = match (first, second) {
            (Some(first), Some(second)) => Texts::Two(first, second),
            (Some(first), None) => Texts::One(first),
            (None, _) => {
                return Err(format!(
                    "no column is the text: it must be called {}; the columns are {}; rename one or give a template",
                    TEXTS.join(", "),
                    there()
                ));
            }
        };
        Ok(Self { label, text })
    }

    fn texts(&self, record: &Record) -> Result<TextPair, String> {
        match &self.text {
            Texts::One(column) => Ok(TextPair { first: string(record, column)?, second: None }),
            Texts::Two(first, second) => {
                Ok(TextPair { first: string(record, first)?, second: Some(string(record, second)?) })
            }
            Texts::Template(template, columns) => {
                let mut columns = columns.iter();
                let first = template.fill(|name| field(record, columns.next().map_or(name, String::as_str)))?;
                Ok(TextPair { first, second: None })
            }
        }
    }

    fn format(&self) -> String {
        let mut names: Vec<&str> = match &self.text {
            Texts::One(text) => vec![text],
            Texts::Two(first, second) => vec![first, second],
            Texts::Template(_, columns) => columns.iter().map(String::as_str).collect(),
        };
        names.push(&self.label);
        format!("{{{}}}", names.join(", "))
    }

    fn notes(&self, tokenizer: &Tokenizer) -> Vec<String> {
        let mut notes = Vec::new();
        match &self.text {
            Texts::One(text) if text != "text" => notes.push(format!("the text is read from the column \"{text}\"")),
            Texts::Two(first, second) => {
                notes.push(format!("two texts are read, from the columns \"{first}\" and \"{second}\""));
                if !tokenizer.separates_pairs() {
                    notes.push(format!(
                        "the tokenizer writes nothing between two texts: a template such as \
                         \"{{{first}}} | {{{second}}}\" tells them apart"
                    ));
                }
            }
            _ => {}
        }
        notes
    }
}

/// A column's value as text for a template.
fn field(record: &Record, column: &str) -> Result<String, String> {
    match record.get(column) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
        Some(other) => Err(format!("\"{column}\" is {}, which the template cannot write as text", type_name(other))),
        None => {
            Err(format!("\"{column}\" is missing, but the template names it; the columns are {}", column_names(record)))
        }
    }
}

/// Tokenises rows in batches.
struct ClassCollector<'a> {
    source: &'a Source,
    tokenizer: &'a Tokenizer,
    max_length: usize,
    ids: IdWriter,
    spans: Vec<ClassSpan>,
    waiting: Vec<(usize, u32)>,
    waiting_texts: Vec<TextPair>,
    waiting_bytes: usize,
    cut: usize,
    refusals: Refusals,
}

impl<'a> ClassCollector<'a> {
    fn new(source: &'a Source, tokenizer: &'a Tokenizer, max_length: usize, skip_bad_rows: bool) -> Self {
        Self {
            source,
            tokenizer,
            max_length,
            ids: IdWriter::new(tokenizer.id_bound()).counting(tokenizer.unknown_id()),
            spans: Vec::new(),
            waiting: Vec::new(),
            waiting_texts: Vec::new(),
            waiting_bytes: 0,
            cut: 0,
            refusals: Refusals::new(skip_bad_rows),
        }
    }

    fn push(&mut self, line: usize, texts: TextPair, class: u32) -> Result<()> {
        self.waiting_bytes += texts.first.len() + texts.second.as_ref().map_or(0, String::len);
        self.waiting.push((line, class));
        self.waiting_texts.push(texts);
        if self.waiting.len() >= BATCH_ROWS || self.waiting_bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn refuse(&mut self, line: usize, reason: &str) -> Result<()> {
        // Errors come in the order of the file, whatever is still waiting.
        self.flush()?;
        self.refusals.refuse(self.source, line, reason)
    }

    fn flush(&mut self) -> Result<()> {
        let (rows, texts) = (std::mem::take(&mut self.waiting), std::mem::take(&mut self.waiting_texts));
        self.waiting_bytes = 0;
        match self.tokenizer.encode_pairs(&texts, self.max_length) {
            Ok(encoded) => {
                rows.into_iter().zip(encoded).try_for_each(|((line, class), row)| self.add(line, class, row))
            }
            // One text stops a whole batch: find it by taking them one by one.
            Err(_) => {
                for ((line, class), texts) in rows.into_iter().zip(&texts) {
                    match self.tokenizer.encode_pairs(std::slice::from_ref(texts), self.max_length) {
                        Ok(encoded) => encoded.into_iter().try_for_each(|row| self.add(line, class, row))?,
                        Err(e) => self.refusals.refuse(self.source, line, &e.to_string())?,
                    }
                }
                Ok(())
            }
        }
    }

    fn add(&mut self, line: usize, class: u32, row: EncodedPair) -> Result<()> {
        if row.ids.is_empty() {
            return self.refusals.refuse(
                self.source,
                line,
                "the tokenizer makes no token of this text: change it, or skip bad rows",
            );
        }
        self.cut += usize::from(row.cut);
        self.spans.push(ClassSpan {
            offset: self.ids.len() as u64,
            length: row.ids.len() as u32,
            second: row.second as u32,
            class,
        });
        self.ids.extend(&row.ids)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bert_tokenizer, byte_level_tokenizer};
    use super::*;

    fn load(text: &str, template: Option<&str>, tokenizer: &Tokenizer, skip: bool) -> Result<(ClassRows, Classes)> {
        let name = if text.starts_with('{') { "r.jsonl" } else { "r.csv" };
        let source = Source::from_bytes(name, text.as_bytes().to_vec())?;
        let mut classes = Classes::collecting();
        Ok((read(&source, tokenizer, template, 64, skip, &mut classes)?, classes))
    }

    /// The text of the first row, two special tokens removed by decoding.
    fn first_text(text: &str, template: Option<&str>) -> String {
        let tokenizer = byte_level_tokenizer();
        let (rows, _) = load(text, template, &tokenizer, false).expect("rows");
        tokenizer.decode(&rows.split.row(0).ids, true).expect("text")
    }

    fn error(text: &str, template: Option<&str>) -> String {
        match load(text, template, &byte_level_tokenizer(), false) {
            Ok(_) => panic!("{text} must be refused"),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn columns_are_found_by_name() {
        assert_eq!(first_text("Review,Target\ngood,1\nbad,0\n", None), "good");
        assert_eq!(first_text("content,text,class\na,b,1\na,b,0\n", None), "b");
        let pair = "premise,hypothesis,labels\nab,cd,1\na,b,0\n";
        let (rows, _) = load(pair, None, &byte_level_tokenizer(), false).expect("rows");
        assert_eq!((rows.format.as_str(), rows.split.row(0).second), ("{premise, hypothesis, labels}", 2));
        assert!(rows.notes[0].contains("\"premise\" and \"hypothesis\""));
        assert!(rows.notes[1].contains("\"{premise} | {hypothesis}\""), "{:?}", rows.notes);
        let (rows, _) = load(pair, None, &bert_tokenizer(), false).expect("rows");
        assert_eq!(rows.notes.len(), 1);
        let (rows, _) = load("question,sentence,label\na,b,1\na,b,0\n", None, &bert_tokenizer(), false).expect("rows");
        assert_eq!(rows.format, "{question, sentence, label}");
        let (rows, _) = load("text,label\na,1\nb,0\n", None, &bert_tokenizer(), false).expect("rows");
        assert!(rows.notes.is_empty());
    }

    #[test]
    fn templates_name_columns() {
        let rows = "{\"title\": \"T\", \"stars\": 5, \"sentence\": \"s\", \"label\": 1}\n\
            {\"title\": \"T\", \"stars\": 5, \"sentence\": \"s\", \"label\": 0}";
        assert_eq!(first_text(rows, Some("{title} ({stars}): {sentence} {{}}")), "T (5): s {}");
        // `{text}` is the text, whatever its column is called.
        assert_eq!(first_text(rows, Some("Review: {text}")), "Review: s");
        assert_eq!(first_text("a,label\nx,1\ny,2\n", Some("{a}{a}")), "xx");
        let message = error(rows, Some("{text2}"));
        assert!(message.contains("names {text2}, but the columns are title, stars, sentence, label"), "{message}");
        assert!(error(rows, Some("{label}")).contains("must not read its own answer"));
        assert!(error(rows, Some("{")).contains("does not close it"));
        let null = "{\"text\": null, \"label\": 1}";
        assert!(error(null, Some("{text}")).contains("r.jsonl:1: \"text\" is null, which the template cannot write"));
    }

    #[test]
    fn bad_rows_say_where_and_what() {
        let good = "{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": \"y\"}\n";
        for (row, what) in [
            ("{\"text\": \"c\"}", "r.jsonl:3: the label in \"label\" is missing"),
            ("{\"text\": \"c\", \"label\": null}", "r.jsonl:3: the label in \"label\" is missing"),
            ("{\"text\": \"c\", \"label\": [1]}", "r.jsonl:3: the label in \"label\" is a list"),
            ("{\"text\": \"c\", \"label\": 0.5}", "r.jsonl:3: the label 0.5 in \"label\" is no whole number"),
            ("{\"label\": \"x\"}", "r.jsonl:3: \"text\" is missing"),
            ("{\"text\": 5, \"label\": \"x\"}", "r.jsonl:3: \"text\" is a number"),
            ("{\"text\": \" \", \"label\": \"x\"}", "r.jsonl:3: the text is empty"),
            ("{\"text\": \"c\", ", "r.jsonl:3: not valid JSON"),
        ] {
            let message = error(&format!("{good}{row}\n"), None);
            assert!(message.starts_with(what), "{message}");
            let (rows, classes) =
                load(&format!("{good}{row}\n{good}"), None, &byte_level_tokenizer(), true).expect("skips");
            assert_eq!(
                (rows.split.class_counts(), rows.refusals.count, classes.names()),
                (&[2, 2][..], 1, &["x".to_string(), "y".into()][..])
            );
        }
        let message = error("a,text\n1,2\n", None);
        assert!(message.starts_with("r.csv:2: no column is the label: it must be called label, labels"), "{message}");
        assert!(message.ends_with("the columns are a, text"), "{message}");
        let message = error("a,label\n1,2\n", None);
        assert!(message.contains("no column is the text") && message.contains("the columns are a, label"), "{message}");
        assert!(error("text,label\na,1\nb,c,2\n", None).starts_with("r.csv:3: 3 fields"));
    }

    #[test]
    fn rows_are_cut_and_counted() {
        let tokenizer = bert_tokenizer();
        let source =
            Source::from_bytes("r.csv", b"text,label\nhello hello hello,1\nhello,0\n".to_vec()).expect("source");
        let rows = read(&source, &tokenizer, None, 4, false, &mut Classes::collecting()).expect("rows");
        assert_eq!((rows.split.row(0).ids, rows.cut), (vec![101, 7592, 7592, 102], 1));
        let Err(error) = read(&source, &tokenizer, None, 2, false, &mut Classes::collecting()) else {
            panic!("no room")
        };
        assert!(error.to_string().contains("r.csv:2: max_seq_length is 2, but the tokenizer's own 2"), "{error}");
    }

    #[test]
    fn numbers_that_are_no_classes_are_noticed() {
        let row = |index: usize| format!("text,{}\n", index as f64 / 7.0);
        let text = format!("text,label\n{}", (0..20).map(row).collect::<String>());
        let (rows, _) = load(&text, None, &byte_level_tokenizer(), false).expect("rows");
        assert!(rows.notes[0].contains("20 classes in 20 rows: is \"label\" really the label?"), "{:?}", rows.notes);
    }

    #[test]
    fn prediction_is_given_what_training_saw() {
        let tokenizer = bert_tokenizer();
        let text = "text,text2,label\nhello world hello,world,1\nhello,world hello,0\n";
        let texts = [("hello world hello", "world"), ("hello", "world hello")];
        for template in [None, Some("hello {text} {text2}"), Some("{text}")] {
            for max in [5, 64] {
                let source = Source::from_bytes("r.csv", text.as_bytes().to_vec()).expect("source");
                let mut classes = Classes::collecting();
                let rows = read(&source, &tokenizer, template, max, false, &mut classes).expect("rows");
                for (index, (first, second)) in texts.into_iter().enumerate() {
                    let row = rows.split.row(index);
                    let encoded = encode_for_classification(&tokenizer, first, Some(second), template, max);
                    assert_eq!(encoded.expect("ids"), (row.ids, row.second));
                }
            }
        }
        let fails = |text: &str, template: Option<&str>| {
            encode_for_classification(&tokenizer, text, None, template, 9).expect_err("must fail").to_string()
        };
        assert!(fails("a", Some("{text} {text2}")).contains("names {text2}, but there is only {text}"));
        assert!(fails("a", Some("{title}")).contains("names {title}"));
        assert!(fails(" ", None).contains("the text is empty"));
    }
}
