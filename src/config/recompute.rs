//! Whether the insides of blocks are kept for the backward pass or computed again in it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

/// Whether the insides of blocks are computed again in the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
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

impl Recompute {
    /// What a person writes.
    pub(super) const WORDS: &[&str] = &["auto", "on", "off"];
}

/// The words of the command line; true and false as runs of earlier versions recorded it.
impl<'de> Deserialize<'de> for Recompute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl de::Visitor<'_> for Words {
            type Value = Recompute;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("auto, on or off")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Recompute, E> {
                Ok(if on { Recompute::On } else { Recompute::Off })
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Recompute, E> {
                match &word.to_ascii_lowercase()[..] {
                    "auto" => Ok(Recompute::Auto),
                    "on" | "true" => Ok(Recompute::On),
                    "off" | "false" => Ok(Recompute::Off),
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
        let read = |text: &str| serde_json::from_str::<Recompute>(text);
        for (text, expected) in [
            ("true", Recompute::On),
            ("false", Recompute::Off),
            ("\"auto\"", Recompute::Auto),
            ("\"on\"", Recompute::On),
            ("\"off\"", Recompute::Off),
        ] {
            assert_eq!(read(text).expect(text), expected);
        }
        let error = read("\"maybe\"").expect_err("no such word").to_string();
        assert!(error.contains("auto, on or off"), "{error}");
        assert_eq!(serde_json::to_string(&Recompute::Off).expect("JSON"), "\"off\"");
    }
}
