//! A whole data set: training, validation and test rows, and the report on how they were understood.
//!
//! What one file gives is read elsewhere (`split_reader`), and which row comes when is planned elsewhere (`batch`).

use std::path::PathBuf;

use super::classify::ClassifySettings;
use super::labels::Classes;
use super::report::{DataReport, Piece};
use super::settings::{DataSettings, DataTask};
use super::source::{DataFiles, Source};
use super::split::Split;
use super::split_reader;
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// Training rows, validation and test rows if there are any, and the report on them.
pub struct Dataset {
    /// What is trained on; never empty.
    pub train: Split,
    /// What is evaluated on; never empty.
    pub valid: Option<Split>,
    /// What is tested on after training; never empty.
    pub test: Option<Split>,
    /// The names of the classes by number; empty in language modelling.
    pub classes: Vec<String>,
    /// How the data was understood.
    pub report: DataReport,
}

impl Dataset {
    /// Finds, reads and tokenises the files of `settings`.
    ///
    /// # Errors
    /// When a file is missing, empty or not readable, a row is bad (and bad rows are not skipped), no row is left, or a
    /// classification has fewer than two classes.
    pub fn load(settings: &DataSettings, tokenizer: &Tokenizer) -> Result<Self> {
        let files = DataFiles::find(&settings.data, settings.valid.as_deref())?;
        let test = files.test.filter(|_| settings.with_test);
        let open = |path: Option<PathBuf>| path.as_deref().map(Source::from_path).transpose();
        let train = Source::from_path(&files.train)?;
        Self::read([Some(train), open(files.valid)?, open(test)?], settings, tokenizer)
    }

    /// Reads and tokenises sources that are already there; the paths of `settings` are not looked at.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_sources(
        train: Source,
        valid: Option<Source>,
        settings: &DataSettings,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        Self::read([Some(train), valid, None], settings, tokenizer)
    }

    /// Reads the training, validation and test source, in this order, since the classes of the others are those of the first.
    fn read(sources: [Option<Source>; 3], settings: &DataSettings, tokenizer: &Tokenizer) -> Result<Self> {
        if !(2..=u32::MAX as usize).contains(&settings.max_seq_length) {
            return Err(Error::input(format!(
                "max_seq_length is {}: it must be at least 2, for a token and the one it predicts",
                settings.max_seq_length
            )));
        }
        let mut classes = match &settings.task {
            DataTask::Classify(ClassifySettings { classes: Some(names), .. }) => Classes::given(names)?,
            _ => Classes::collecting(),
        };
        let mut notes = Vec::new();
        let mut read = |source: Option<Source>| match source {
            Some(source) => split_reader::read(&source, settings, tokenizer, &mut classes, &mut notes)
                .map(|(split, report)| (Some(split), Some(report))),
            None => Ok((None, None)),
        };
        let [train, valid, test] = sources;
        let ((train, train_report), (valid, valid_report), (test, test_report)) =
            (read(train)?, read(valid)?, read(test)?);
        let (Some(train), Some(train_report)) = (train, train_report) else {
            return Err(Error::input("there is no training file"));
        };
        let classes = match settings.task {
            DataTask::LanguageModel => Vec::new(),
            DataTask::Classify(_) => classes.names().to_vec(),
        };
        let example = example(&train, tokenizer)?;
        let example_class = train.row(0).class.and_then(|class| classes.get(class as usize).cloned());
        let report =
            DataReport { train: train_report, valid: valid_report, test: test_report, notes, example, example_class };
        Ok(Self { train, valid, test, classes, report })
    }

    /// Checks that the model, which has `vocab_size` embeddings, knows every id of the data.
    ///
    /// # Errors
    /// When tokenizer and model do not belong together.
    pub fn check_vocabulary(&self, vocab_size: usize) -> Result<()> {
        let splits = [Some(&self.train), self.valid.as_ref(), self.test.as_ref()];
        splits.into_iter().flatten().try_for_each(|split| split.check_vocabulary(vocab_size))
    }

    /// Checks that the model knows every token type of the data; see [`Split::check_token_types`].
    ///
    /// # Errors
    /// A row has a second text, and the model knows only one kind.
    pub fn check_token_types(&self, token_types: usize) -> Result<()> {
        let splits = [Some(&self.train), self.valid.as_ref(), self.test.as_ref()];
        splits.into_iter().flatten().try_for_each(|split| split.check_token_types(token_types))
    }
}

/// The first row in pieces of text that are trained on or not.
fn example(split: &Split, tokenizer: &Tokenizer) -> Result<Vec<Piece>> {
    let row = split.row(0);
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut text_before = String::new();
    while start < row.ids.len() {
        let is_target = row.targets[start];
        let end = (start..row.ids.len()).find(|&index| row.targets[index] != is_target).unwrap_or(row.ids.len());
        // Decoded from the row's beginning, so that spaces and split characters come out as in the whole text.
        let text_now = tokenizer.decode(&row.ids[..end], false)?;
        let text = match text_now.strip_prefix(text_before.as_str()) {
            Some(text) => text.to_string(),
            None => tokenizer.decode(&row.ids[start..end], false)?,
        };
        pieces.push(Piece { text, is_target });
        text_before = text_now;
        start = end;
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        bert_tokenizer, byte_fallback_tokenizer, byte_level_tokenizer, chat_tokenizer, shared_folder,
    };
    use super::*;
    use crate::rng::Stream;

    fn settings(max_seq_length: usize) -> DataSettings {
        DataSettings { max_seq_length, ..DataSettings::default() }
    }

    fn from_text(text: &str, settings: &DataSettings, tokenizer: &Tokenizer) -> Result<Dataset> {
        Dataset::from_sources(Source::from_bytes("train", text.as_bytes().to_vec())?, None, settings, tokenizer)
    }

    #[test]
    fn a_folder_is_loaded_with_its_report() {
        let folder = tempfile::tempdir().expect("temp folder");
        std::fs::write(folder.path().join("train.jsonl"), "{\"text\": \"abcdef\"}\n{bad\n{\"text\": \"a\"}")
            .expect("w");
        std::fs::write(folder.path().join("valid.txt"), "one\n\ntwo").expect("write");
        std::fs::write(folder.path().join("test.csv"), "text\nabc\n").expect("write");
        let mut settings = DataSettings { data: folder.path().to_path_buf(), skip_bad_rows: true, ..settings(4) };
        let tokenizer = byte_level_tokenizer();
        let dataset = Dataset::load(&settings, &tokenizer).expect("data");
        assert_eq!(dataset.train.lengths(), [4, 2]);
        assert_eq!((dataset.report.train.cut_rows, dataset.report.train.skipped_rows), (1, 1));
        assert!(dataset.report.train.skipped_reasons[0].contains("train.jsonl:2: not valid JSON"));
        let valid = dataset.valid.expect("valid");
        assert_eq!(valid.lengths(), [4, 4]);
        assert_eq!(dataset.report.valid.expect("report").documents, Some(2));
        assert!(dataset.train.check_vocabulary(257).is_ok() && dataset.train.check_vocabulary(256).is_err());
        assert!(dataset.test.is_none() && dataset.report.test.is_none());
        settings.with_test = true;
        let dataset = Dataset::load(&settings, &tokenizer).expect("data");
        assert_eq!((dataset.test.expect("test").lengths(), dataset.report.test.expect("report").rows), (vec![4], 1));
        settings.skip_bad_rows = false;
        assert!(Dataset::load(&settings, &tokenizer).is_err());
    }

    #[test]
    fn an_empty_split_is_an_error() {
        let tokenizer = byte_level_tokenizer();
        let skipping = DataSettings { skip_bad_rows: true, ..settings(4) };
        let Err(error) = from_text("{bad\n{bad", &skipping, &tokenizer) else { panic!("must fail") };
        assert!(error.to_string().contains("all 2 were skipped"), "{error}");
        let no_end = DataSettings { append_eos: false, ..settings(4) };
        let Err(error) = from_text("a", &no_end, &tokenizer) else { panic!("must fail") };
        assert!(error.to_string().contains("fewer than two tokens"), "{error}");
        assert!(from_text("abc", &settings(1), &tokenizer).is_err());
    }

    #[test]
    fn notes_say_what_is_not_expected() {
        let masked = DataSettings { mask_prompt: Some(true), ..settings(64) };
        let dataset = from_text("abc", &masked, &byte_level_tokenizer()).expect("data");
        assert!(dataset.report.notes[0].contains("mask_prompt changes nothing"));
        let talk = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \
            \"content\": \"b\"}]}";
        let dataset = from_text(talk, &settings(64), &byte_level_tokenizer()).expect("data");
        assert!(dataset.report.notes[0].contains("no chat template"));
        assert!(from_text(talk, &settings(128), &chat_tokenizer()).expect("data").report.notes.is_empty());
    }

    #[test]
    fn random_bytes_never_panic() {
        let tokenizers = [byte_level_tokenizer(), byte_fallback_tokenizer(), chat_tokenizer(), bert_tokenizer()];
        let words: [&[u8]; 24] = [
            b"{\"text\": \"",
            b"\"}\n",
            b"{\"messages\": [{\"role\": \"user\", \"content\": \"",
            b"\"}, {\"role\": \"assistant\", \"content\": \"",
            b"\"}]}\n",
            b"{\"prompt\": \"",
            b"\", \"completion\": \"",
            b"{\"instruction\": \"",
            b"\", \"output\": \"",
            b"\", \"label\": \"",
            b"{\"sentence1\": \"a\", \"sentence2\": \"b\", \"label\": 1}\n",
            b"{\"text\": \"hello\", \"label\": true}\n",
            b"[{\"text\": \"a\"}, ",
            b"]",
            b",",
            b"\t",
            b"\"",
            b"\r\n",
            b"\n\n",
            b"\xf0\x9f\x98\x80",
            b"<|im_end|>",
            b"</s>",
            b"\xef\xbb\xbf",
            b" ",
        ];
        let starts: [(&str, &[u8]); 7] = [
            ("random", b""),
            ("random.csv", b"text,label\na,0\nb,1\n"),
            ("random.csv", b"prompt,completion\n"),
            ("random.tsv", b"label\ttext\n1\ta\n"),
            ("random.csv", b""),
            ("random.json", b"["),
            ("random.parquet", b"PAR1"),
        ];
        let mut loaded = [0; 2];
        for seed in 0..2000 {
            let mut stream = Stream::new(seed, "random bytes");
            let (name, start) = starts[stream.below(starts.len() as u64) as usize];
            let mut bytes = start.to_vec();
            for _ in 0..stream.below(60) {
                match stream.below(6) {
                    0 => bytes.push(stream.bits() as u8),
                    1 => bytes.push(stream.below(96) as u8 + 32),
                    _ => bytes.extend(words[stream.below(words.len() as u64) as usize]),
                }
            }
            let template = ["{text}", "A {text} {label}", "{sentence1}{{", "{"][stream.below(4) as usize];
            let task = ClassifySettings {
                template: (stream.below(2) == 0).then(|| template.to_string()),
                classes: (stream.below(2) == 0).then(|| vec!["0".to_string(), "1".to_string()]),
            };
            let settings = DataSettings {
                max_seq_length: 2 + stream.below(40) as usize,
                skip_bad_rows: stream.below(3) > 0,
                mask_prompt: [None, Some(true), Some(false)][stream.below(3) as usize],
                append_eos: stream.below(2) == 0,
                ..DataSettings::default()
            };
            for task in [DataTask::LanguageModel, DataTask::Classify(task)] {
                let classifies = task != DataTask::LanguageModel;
                let settings = DataSettings { task, ..settings.clone() };
                for tokenizer in &tokenizers {
                    let dataset = Source::from_bytes(name, bytes.clone())
                        .and_then(|source| Dataset::from_sources(source, None, &settings, tokenizer));
                    let Ok(dataset) = dataset else { continue };
                    loaded[usize::from(classifies)] += 1;
                    for index in 0..dataset.train.len() {
                        let row = dataset.train.row(index);
                        assert_eq!(row.ids.len(), row.targets.len());
                        assert!(row.ids.len() <= settings.max_seq_length && !row.ids.is_empty());
                        assert!(!row.targets[0] && row.targets.contains(&true) != classifies);
                        assert_eq!(row.class.is_some(), classifies);
                        assert!(row.class.is_none_or(|class| (class as usize) < dataset.classes.len()));
                    }
                    assert!(!dataset.report.to_string().is_empty());
                }
            }
        }
        assert!(loaded.iter().all(|&count| count > 300), "only {loaded:?} good files: the test has lost its point");
    }

    fn classify(template: Option<&str>, classes: Option<&[&str]>) -> DataSettings {
        let classes = classes.map(|names| names.iter().map(ToString::to_string).collect());
        let task = DataTask::Classify(ClassifySettings { template: template.map(String::from), classes });
        DataSettings { task, ..settings(64) }
    }

    #[test]
    fn a_folder_of_tables_is_classified_with_its_test_file() {
        let folder = tempfile::tempdir().expect("temp folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("write");
        write("train.tsv", "label\tsentence\nno\thello\nyes\tworld\nno\thello hello\n");
        write("valid.csv", "sentence,label\n\"hello, world\",yes\n");
        write("test.jsonl", "{\"sentence\": \"hello\", \"label\": \"no\"}");
        let settings = DataSettings { data: folder.path().to_path_buf(), with_test: true, ..classify(None, None) };
        let dataset = Dataset::load(&settings, &bert_tokenizer()).expect("data");
        assert_eq!(dataset.classes, ["no", "yes"]);
        assert_eq!(dataset.train.class_counts(), [2, 1]);
        assert_eq!(dataset.train.row(0).ids, [101, 7592, 102]);
        assert_eq!(dataset.valid.expect("valid").row(0).class, Some(1));
        assert_eq!(dataset.test.expect("test").row(0).class, Some(0));
        assert_eq!(dataset.report.train.format, "{sentence, label}");
        assert_eq!(dataset.report.notes, ["the text is read from the column \"sentence\""]);
        let text = dataset.report.to_string();
        assert!(text.contains("2 classes: no 2, yes 1") && text.contains("the class is no"), "{text}");
        assert!(text.contains("│ [CLS] hello [SEP]") && text.contains("test     "), "{text}");
        let without = DataSettings { with_test: false, ..settings.clone() };
        assert!(Dataset::load(&without, &bert_tokenizer()).expect("data").test.is_none());
        write("valid.csv", "sentence,label\nhello,yes\nhello,maybe\n");
        let Err(error) = Dataset::load(&settings, &bert_tokenizer()) else { panic!("must fail") };
        assert!(
            error.to_string().contains("valid.csv:3: the label \"maybe\" does not come in the training"),
            "{error}"
        );
    }

    #[test]
    fn one_class_is_refused_and_language_models_have_none() {
        let rows = "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": 1}";
        let Err(error) = from_text(rows, &classify(None, None), &byte_level_tokenizer()) else { panic!("must fail") };
        assert!(error.to_string().contains("at least two classes"), "{error}");
        let dataset = from_text(rows, &classify(None, Some(&["no", "yes"])), &byte_level_tokenizer()).expect("data");
        assert_eq!((dataset.train.class_counts(), dataset.report.example_class.as_deref()), (&[0, 2][..], Some("yes")));
        let dataset = from_text(rows, &settings(64), &byte_level_tokenizer()).expect("data");
        assert!(dataset.classes.is_empty() && dataset.report.train.classes.is_empty());
        assert!(from_text("just text", &classify(None, None), &byte_level_tokenizer()).is_err());
    }

    #[test]
    fn real_data_is_classified() {
        let Some(data) = shared_folder("data") else { return };
        for (name, classes, rows) in [
            ("sst2", &["negative", "positive"][..], [6920, 872, 1821]),
            ("trec/train.tsv", &["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"], [5452, 0, 0]),
        ] {
            let settings = DataSettings { data: data.join(name), with_test: true, ..classify(None, None) };
            let dataset = Dataset::load(&settings, &byte_fallback_tokenizer()).expect("data");
            println!("{}\n", dataset.report);
            assert_eq!(dataset.classes, classes);
            let lengths = [Some(&dataset.train), dataset.valid.as_ref(), dataset.test.as_ref()];
            assert_eq!(lengths.map(|split| split.map_or(0, Split::len)), rows);
            assert_eq!(dataset.train.class_counts().iter().sum::<usize>(), rows[0]);
        }
    }

    #[test]
    fn real_data_is_understood() {
        let (Some(data), Some(models)) = (shared_folder("data"), shared_folder("models")) else { return };
        for model in ["stories260K", "babyllama105"] {
            let tokenizer = Tokenizer::from_folder(&models.join(model)).expect("tokenizer");
            for name in ["shakespeare", "instruct", "gsm8k/rows.jsonl", "tinystories", "sst2"] {
                let settings = DataSettings { data: data.join(name), skip_bad_rows: true, ..DataSettings::default() };
                let dataset = Dataset::load(&settings, &tokenizer).expect("data");
                dataset.check_vocabulary(tokenizer.vocab_size()).expect("vocabulary");
                println!("{model} {name}\n{}\n", dataset.report);
                let counted: usize = (0..dataset.train.len())
                    .map(|index| dataset.train.row(index).targets.iter().filter(|&&target| target).count())
                    .sum();
                assert_eq!(counted, dataset.train.target_tokens());
            }
        }
    }
}
