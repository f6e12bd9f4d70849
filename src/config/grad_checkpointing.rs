//! The setting for gradient checkpointing.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

/// Gradient checkpointing: only the input of each block is kept, and its inside computed again in the backward pass (Chen et al.
/// 2016, arXiv 1604.06174).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum GradCheckpointing {
    /// Where the run would not fit the device otherwise.
    #[default]
    Auto,
    /// Always: less memory, a third more work.
    #[cfg_attr(feature = "cli", value(alias = "true"))]
    On,
    /// Never.
    #[cfg_attr(feature = "cli", value(alias = "false"))]
    Off,
}

impl GradCheckpointing {
    /// What a person writes.
    pub(super) const WORDS: &[&str] = &["auto", "on", "off"];
}

/// The words of the command line; true and false as runs of earlier versions recorded it.
impl<'de> Deserialize<'de> for GradCheckpointing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl de::Visitor<'_> for Words {
            type Value = GradCheckpointing;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("auto, on or off")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<GradCheckpointing, E> {
                Ok(if on { GradCheckpointing::On } else { GradCheckpointing::Off })
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<GradCheckpointing, E> {
                match &word.to_ascii_lowercase()[..] {
                    "auto" => Ok(GradCheckpointing::Auto),
                    "on" | "true" => Ok(GradCheckpointing::On),
                    "off" | "false" => Ok(GradCheckpointing::Off),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
        }

        deserializer.deserialize_any(Words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_words_are_read() {
        let read = |text: &str| serde_json::from_str::<GradCheckpointing>(text);
        for (text, expected) in [
            ("true", GradCheckpointing::On),
            ("false", GradCheckpointing::Off),
            ("\"auto\"", GradCheckpointing::Auto),
            ("\"on\"", GradCheckpointing::On),
            ("\"off\"", GradCheckpointing::Off),
        ] {
            assert_eq!(read(text).expect(text), expected);
        }
        let error = read("\"maybe\"").expect_err("no such word").to_string();
        assert!(error.contains("auto, on or off"), "{error}");
        assert_eq!(serde_json::to_string(&GradCheckpointing::Off).expect("JSON"), "\"off\"");
    }
}
