//! A whole data set: training and validation rows, and the report on how they were understood.
//!
//! The one place where files, formats and rows meet. Which row comes when is planned elsewhere (`batch`).

use std::path::PathBuf;

use super::jsonl;
use super::report::{DataReport, Piece, SplitReport};
use super::rows::{Refusals, RowCollector};
use super::source::{DataFiles, Format, Source};
use super::split::Split;
use super::text;
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// What to read and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSettings {
    /// The training file, or a folder with `train.*` and perhaps `valid.*`.
    pub data: PathBuf,
    /// The validation file, if it is not found beside the training file.
    pub valid: Option<PathBuf>,
    /// Most tokens in a row, at least 2: longer rows are cut at the end; plain text is cut into blocks of this length.
    pub max_seq_length: usize,
    /// Whether only answers are learnt. `None`: yes, where rows have a prompt.
    pub mask_prompt: Option<bool>,
    /// Whether rows that cannot be used are counted and left out instead of stopping.
    pub skip_bad_rows: bool,
    /// Whether the end token follows every document of plain text.
    pub append_eos: bool,
}

impl Default for DataSettings {
    fn default() -> Self {
        Self {
            data: PathBuf::new(),
            valid: None,
            max_seq_length: 512,
            mask_prompt: None,
            skip_bad_rows: false,
            append_eos: true,
        }
    }
}

/// Training rows, validation rows if there are any, and the report on them.
pub struct Dataset {
    /// What is trained on; never empty.
    pub train: Split,
    /// What is evaluated on; never empty.
    pub valid: Option<Split>,
    /// How the data was understood.
    pub report: DataReport,
}

impl Dataset {
    /// Finds, reads and tokenises the files of `settings`.
    ///
    /// # Errors
    /// When a file is missing, empty or not readable, a row is bad (and bad rows are not skipped), or no row is left.
    pub fn load(settings: &DataSettings, tokenizer: &Tokenizer) -> Result<Self> {
        let files = DataFiles::find(&settings.data, settings.valid.as_deref())?;
        let train = Source::from_path(&files.train)?;
        let valid = files.valid.as_deref().map(Source::from_path).transpose()?;
        Self::from_sources(train, valid, settings, tokenizer)
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
        if !(2..=u32::MAX as usize).contains(&settings.max_seq_length) {
            return Err(Error::input(format!(
                "max_seq_length is {}: it must be at least 2, for a token and the one it predicts",
                settings.max_seq_length
            )));
        }
        let mut notes = Vec::new();
        let (train, train_report) = read_split(&train, settings, tokenizer, &mut notes)?;
        let (valid, valid_report) = match valid {
            Some(valid) => {
                read_split(&valid, settings, tokenizer, &mut notes).map(|(split, r)| (Some(split), Some(r)))?
            }
            None => (None, None),
        };
        let example = example(&train, tokenizer)?;
        let report = DataReport { train: train_report, valid: valid_report, notes, example };
        Ok(Self { train, valid, report })
    }

    /// Checks that the model, which has `vocab_size` embeddings, knows every id of the data.
    ///
    /// # Errors
    /// When tokenizer and model do not belong together.
    pub fn check_vocabulary(&self, vocab_size: usize) -> Result<()> {
        self.train.check_vocabulary(vocab_size)?;
        self.valid.iter().try_for_each(|valid| valid.check_vocabulary(vocab_size))
    }
}

/// Reads one source by its format.
fn read_split(
    source: &Source,
    settings: &DataSettings,
    tokenizer: &Tokenizer,
    notes: &mut Vec<String>,
) -> Result<(Split, SplitReport)> {
    let mut note = |text: String| {
        if !notes.contains(&text) {
            notes.push(text);
        }
    };
    let (split, format, documents, cut, refusals) = match source.format()? {
        Format::PlainText => {
            if settings.mask_prompt == Some(true) {
                note(format!("mask_prompt changes nothing in {}: plain text has no prompts", source.name()));
            }
            let text = text::read(source, tokenizer, settings.append_eos, settings.skip_bad_rows)?;
            let split = Split::blocks(text.ids, settings.max_seq_length);
            (split, "plain text".to_string(), Some(text.documents), 0, text.refusals)
        }
        Format::JsonLines => {
            let mut rows = RowCollector::new(tokenizer, source.name(), settings.max_seq_length, settings.skip_bad_rows);
            let mask_prompt = settings.mask_prompt.unwrap_or(true);
            let findings = jsonl::read(source, tokenizer, mask_prompt, &mut rows)?;
            let (split, cut, refusals) = rows.finish()?;
            if findings.kind == Some(jsonl::Kind::Text) && settings.mask_prompt == Some(true) {
                note(format!("mask_prompt changes nothing in {}: {{text}} rows have no prompt", source.name()));
            }
            if findings.kind == Some(jsonl::Kind::Messages) && tokenizer.chat_template().is_none() {
                note("the model has no chat template: conversations are written as ### User: / ### Assistant:".into());
            }
            if findings.last_answer_only > 0 {
                note(format!(
                    "{} conversations of {} learn their last answer only: the chat template rewrites earlier turns",
                    findings.last_answer_only,
                    source.name()
                ));
            }
            let format = findings.kind.map_or("JSON Lines", jsonl::Kind::name).to_string();
            (split, format, None, cut, refusals)
        }
    };
    if split.is_empty() {
        return Err(nothing_left(source, &refusals));
    }
    let longest_row = (0..split.len()).map(|index| split.row_length(index)).max().unwrap_or(0);
    let report = SplitReport {
        file: source.name().to_string(),
        format,
        rows: split.len(),
        documents,
        tokens: split.tokens(),
        target_tokens: split.target_tokens(),
        unknown_tokens: split.unknown_tokens(),
        longest_row,
        cut_rows: cut,
        max_seq_length: settings.max_seq_length,
        skipped_rows: refusals.count,
        skipped_reasons: refusals.reasons,
    };
    Ok((split, report))
}

fn nothing_left(source: &Source, refusals: &Refusals) -> Error {
    match refusals.reasons.first() {
        Some(reason) => Error::input(format!(
            "no row of {} can be used: all {} were skipped; the first because {reason}",
            source.name(),
            refusals.count
        )),
        None => Error::input(format!("{} has fewer than two tokens: there is nothing to predict", source.name())),
    }
}

/// The first row in pieces of learnt and not learnt text.
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
    use super::super::testing::{byte_fallback_tokenizer, byte_level_tokenizer, chat_tokenizer, shared_folder};
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
        let tokenizers = [byte_level_tokenizer(), byte_fallback_tokenizer(), chat_tokenizer()];
        let words: [&[u8]; 14] = [
            b"{\"text\": \"",
            b"\"}\n",
            b"{\"messages\": [{\"role\": \"user\", \"content\": \"",
            b"\"}, {\"role\": \"assistant\", \"content\": \"",
            b"\"}]}\n",
            b"{\"prompt\": \"",
            b"\", \"completion\": \"",
            b"\r\n",
            b"\n\n",
            b"\xf0\x9f\x98\x80",
            b"<|im_end|>",
            b"</s>",
            b"\xef\xbb\xbf",
            b" ",
        ];
        let mut loaded = 0;
        for seed in 0..1000 {
            let mut stream = Stream::new(seed, "random bytes");
            let mut bytes = Vec::new();
            for _ in 0..stream.below(60) {
                match stream.below(6) {
                    0 => bytes.push(stream.bits() as u8),
                    1 => bytes.push(stream.below(96) as u8 + 32),
                    _ => bytes.extend(words[stream.below(words.len() as u64) as usize]),
                }
            }
            let settings = DataSettings {
                max_seq_length: 2 + stream.below(40) as usize,
                skip_bad_rows: stream.below(2) == 0,
                mask_prompt: [None, Some(true), Some(false)][stream.below(3) as usize],
                append_eos: stream.below(2) == 0,
                ..DataSettings::default()
            };
            for tokenizer in &tokenizers {
                let dataset = Source::from_bytes("random", bytes.clone())
                    .and_then(|source| Dataset::from_sources(source, None, &settings, tokenizer));
                let Ok(dataset) = dataset else { continue };
                loaded += 1;
                for index in 0..dataset.train.len() {
                    let row = dataset.train.row(index);
                    assert_eq!(row.ids.len(), row.targets.len());
                    assert!(row.ids.len() <= settings.max_seq_length && !row.targets[0] && row.targets.contains(&true));
                }
                assert!(!dataset.report.to_string().is_empty());
            }
        }
        assert!(loaded > 300, "only {loaded} of the random files were good: the test has lost its point");
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
