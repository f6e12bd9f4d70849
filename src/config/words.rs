//! The words of a setting that is one of a few: those that its type is stored as.

use std::fmt;

use serde::{
    Deserialize, Serialize,
    de::{self, Deserializer, IntoDeserializer, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};

/// The value of a word, or what the words are.
pub(super) fn named<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T, String> {
    one_of(text, words::<T>())
}

/// The value of a word, or that there are `words`.
pub(super) fn one_of<T: for<'a> Deserialize<'a>>(text: &str, words: &[&str]) -> Result<T, String> {
    let word: StrDeserializer<de::value::Error> = text.trim().into_deserializer();
    T::deserialize(word).map_err(|_| format!("there are {}", words.join(", ")))
}

/// The word of a value.
pub(super) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Every word, in the order of the type's variants.
pub(super) fn words<T: for<'a> Deserialize<'a>>() -> &'static [&'static str] {
    match T::deserialize(List) {
        Err(Words(words)) => words,
        Ok(_) => &[],
    }
}

/// A type that is asked to read itself says what its words are. Instead of a value it gets them back as an error.
struct List;

#[derive(Debug)]
struct Words(&'static [&'static str]);

impl<'de> Deserializer<'de> for List {
    type Error = Words;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Words> {
        Err(Words(&[]))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Words> {
        Err(Words(words))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl std::error::Error for Words {}

impl de::Error for Words {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::config::*;

    fn same<T: ValueEnum + Serialize>(words: &[&str]) {
        let possible = T::value_variants().iter().map(|value| value.to_possible_value().expect("a word"));
        let typed: Vec<String> = possible.map(|value| value.get_name().to_owned()).collect();
        assert_eq!(words, typed);
        assert_eq!(T::value_variants().iter().map(word).collect::<Vec<_>>(), typed);
    }

    #[test]
    fn the_words_that_are_stored_are_those_of_the_command_line() {
        same::<Schedule>(words::<Schedule>());
        same::<Init>(words::<Init>());
        same::<Task>(words::<Task>());
        same::<HeadStart>(words::<HeadStart>());
        same::<AdapterDtype>(words::<AdapterDtype>());
        same::<WeightsDtype>(words::<WeightsDtype>());
        same::<Quantize>(words::<Quantize>());
        same::<MaskPrompt>(words::<MaskPrompt>());
        same::<GradCheckpointing>(GradCheckpointing::WORDS);
    }
}
