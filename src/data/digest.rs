//! The identity of the data of a run: a digest of the rows, of the tokenizer and of the chat template.

use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::tokenizer::Tokenizer;

/// BLAKE3 digests, in hexadecimal. A checkpoint keeps them, so that a resumed run notices that its data have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Of the training rows: token ids, what of them is trained on, classes.
    pub train: String,
    /// Of the validation rows.
    pub valid: Option<String>,
    /// Of `tokenizer.json` and the ids of the special tokens.
    pub tokenizer: String,
    /// Of the chat template, the tokens that it is given and the date that it asks for.
    pub chat_template: Option<String>,
}

impl Digests {
    /// The digests of data that are read.
    pub fn of(dataset: &Dataset, tokenizer: &Tokenizer) -> Self {
        let mut train = blake3::Hasher::new();
        dataset.train.hash_into(&mut train);
        for name in &dataset.classes {
            train.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        }
        let valid = dataset.valid.as_ref().map(|split| {
            let mut valid = blake3::Hasher::new();
            split.hash_into(&mut valid);
            hex(&valid)
        });
        let chat_template = tokenizer.chat_template().map(|template| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(template.source().as_bytes());
            hasher.update(format!("{:?} {:?}", template.special_tokens(), tokenizer.chat_date()).as_bytes());
            hex(&hasher)
        });
        Self { train: hex(&train), valid, tokenizer: tokenizer.digest().to_owned(), chat_template }
    }

    /// What of `now` is not as it was, in words. Rows that differ because the tokenizer or the chat template do are not
    /// named beside these.
    pub fn differing(&self, now: &Self) -> Vec<&'static str> {
        let mut found = Vec::new();
        if self.tokenizer != now.tokenizer {
            found.push("the tokenizer");
        }
        if self.chat_template != now.chat_template {
            found.push("the chat template");
        }
        if !found.is_empty() {
            return found;
        }
        if self.train != now.train {
            found.push("the training rows");
        }
        if self.valid != now.valid {
            found.push("the validation rows");
        }
        found
    }
}

fn hex(hasher: &blake3::Hasher) -> String {
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::settings::DataSettings;
    use super::super::source::Source;
    use super::super::testing::{byte_fallback_tokenizer, byte_level_tokenizer, chat_tokenizer};
    use super::*;

    fn digests(train: &str, valid: &str, tokenizer: &Tokenizer) -> Digests {
        let source = |text: &str| Source::from_bytes("rows.jsonl", text.as_bytes().to_vec()).expect("source");
        let valid = (!valid.is_empty()).then(|| source(valid));
        let dataset = Dataset::from_sources(source(train), valid, &DataSettings::default(), tokenizer).expect("data");
        Digests::of(&dataset, tokenizer)
    }

    #[test]
    fn each_part_is_told_from_another() {
        let (row, other) = (r#"{"prompt": "ab", "completion": "cd"}"#, r#"{"prompt": "abc", "completion": "d"}"#);
        let tokenizer = byte_level_tokenizer();
        let before = digests(row, row, &tokenizer);
        // The bytes of the file do not matter, the rows do.
        assert_eq!(before.differing(&digests(&format!("\n{row}\n\n"), row, &tokenizer)), [] as [&str; 0]);
        // The same ids, of which others are trained on.
        assert_eq!(before.differing(&digests(other, row, &tokenizer)), ["the training rows"]);
        assert_eq!(before.differing(&digests(row, other, &tokenizer)), ["the validation rows"]);
        assert_eq!(before.differing(&digests(row, "", &tokenizer)), ["the validation rows"]);
        assert_eq!(before.differing(&digests(other, "", &tokenizer)), ["the training rows", "the validation rows"]);
        assert_eq!(before.differing(&digests(row, row, &byte_fallback_tokenizer())), ["the tokenizer"]);
        let told = before.differing(&digests(row, row, &chat_tokenizer()));
        assert!(told.contains(&"the chat template"), "{told:?}");
    }

    #[test]
    fn classes_are_part_of_the_rows() {
        use super::super::{classify::ClassifySettings, settings::DataTask};
        let of = |names: [&str; 2]| {
            let classes = Some(names.map(String::from).to_vec());
            let task = DataTask::Classify(ClassifySettings { template: None, classes });
            let settings = DataSettings { task, ..DataSettings::default() };
            let rows = b"text,label\na,0\nb,1\n".to_vec();
            let source = Source::from_bytes("rows.csv", rows).expect("source");
            let tokenizer = byte_level_tokenizer();
            Digests::of(&Dataset::from_sources(source, None, &settings, &tokenizer).expect("data"), &tokenizer)
        };
        assert_eq!(of(["no", "yes"]).differing(&of(["no", "yes"])), [] as [&str; 0]);
        assert_eq!(of(["no", "yes"]).differing(&of(["yes", "no"])), ["the training rows"]);
    }
}
