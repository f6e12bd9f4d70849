//! The types of settings, and how a person writes their values.

use std::{path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    grad_checkpointing::GradCheckpointing,
    words::{named, one_of, word, words},
};
use crate::device::DeviceChoice;

/// Shape of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The peak rate throughout.
    Constant,
    /// A straight line down to the minimum.
    Linear,
    /// Half a cosine down to the minimum.
    #[default]
    Cosine,
}

/// Where the weights of the model come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// The folder's safetensors files.
    #[default]
    Pretrained,
    /// Random numbers from the seed; the folder needs only config.json and tokenizer.json.
    Random,
}

/// What a model learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// To predict the next token.
    #[default]
    CausalLm,
    /// To tell classes of texts apart.
    Classify,
}

/// How a new classification head starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum HeadStart {
    /// Small random numbers, scaled as the SpaRTA authors do.
    #[default]
    Random,
    /// Rows of the language-model head.
    FromVocabulary,
}

/// Storage type of an adapter's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum AdapterDtype {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats.
    F16,
}

/// In how many bits the weights of a model are kept on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum WeightsDtype {
    /// As the checkpoint has them.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
}

/// Whether the weights of linear layers are quantized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Quantize {
    /// They are not.
    #[default]
    None,
    /// To 8 bits.
    Q8,
    /// To 4 bits.
    Q4,
}

/// Whether prompts are masked out of the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum MaskPrompt {
    /// Where rows have a prompt.
    #[default]
    Auto,
    /// Always where there is one.
    True,
    /// Never.
    False,
}

impl MaskPrompt {
    /// As the data module asks for it.
    pub fn as_option(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::True => Some(true),
            Self::False => Some(false),
        }
    }
}

/// A comma-separated list; a comma inside an item is written `\,`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct List<T>(pub Vec<T>);

impl<T: FromStr> FromStr for List<T>
where
    T::Err: std::fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let items = pieces(text, ',').into_iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty());
        items.map(|item| item.parse().map_err(|e| format!("{item}: {e}"))).collect::<Result<_, _>>().map(Self)
    }
}

/// Prompts separated by `|`; a new line is written `\n`, a bar `\|`. No text at all is no prompt, a lone backslash an
/// empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Prompts(pub Vec<String>);

impl FromStr for Prompts {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(if text.is_empty() { Vec::new() } else { pieces(text, '|') }))
    }
}

/// The parts of `text` between separators. A backslash takes its meaning from a separator or a backslash behind it, and
/// is nothing at the end; between bars `\n` is a new line.
fn pieces(text: &str, separator: char) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == separator {
            pieces.push(String::new());
            continue;
        }
        let piece = pieces.last_mut().expect("there is one from the start");
        if character != '\\' {
            piece.push(character);
            continue;
        }
        match characters.next() {
            Some(plain) if plain == separator || plain == '\\' => piece.push(plain),
            Some('n') if separator == '|' => piece.push('\n'),
            Some(other) => piece.extend(['\\', other]),
            None => {}
        }
    }
    pieces
}

/// What [`pieces`] takes apart.
fn joined(items: impl IntoIterator<Item = String>, separator: char) -> String {
    let escape = |item: String| {
        let item = item.replace('\\', r"\\").replace(separator, &format!(r"\{separator}"));
        if separator == '|' { item.replace('\n', r"\n") } else { item }
    };
    items.into_iter().map(escape).collect::<Vec<_>>().join(&separator.to_string())
}

/// A value as a flag takes it.
pub(super) trait Written: Sized {
    /// The value of a text, or what is wrong with it.
    fn read(text: &str) -> Result<Self, String>;

    /// The text of a value.
    fn write(&self) -> String;

    /// Every text, where there are only a few.
    fn all() -> &'static [&'static str] {
        &[]
    }
}

macro_rules! written {
    ($($type:ty: $read:expr, $write:expr $(, $all:expr)?;)*) => {
        $(impl Written for $type {
            fn read(text: &str) -> Result<Self, String> {
                let read: fn(&str) -> Result<Self, String> = $read;
                read(text)
            }

            fn write(&self) -> String {
                let write: fn(&Self) -> String = $write;
                write(self)
            }

            $(fn all() -> &'static [&'static str] {
                $all
            })?
        })*
    };
}

written! {
    PathBuf: |text| Ok(text.into()), |path| path.to_string_lossy().into_owned();
    String: |text| Ok(text.to_owned()), Clone::clone;
    DeviceChoice: |text| Ok(text.trim().to_owned().into()), ToString::to_string;
    bool: parsed, ToString::to_string, &["true", "false"];
    u64: parsed, ToString::to_string;
    usize: parsed, ToString::to_string;
    f64: parsed, |number| format!("{number:?}").trim_end_matches(".0").to_owned();
    Prompts: |text| text.parse().map_err(|never| match never {}), written_prompts;
    Schedule: named, word, words::<Schedule>();
    Init: named, word, words::<Init>();
    Task: named, word, words::<Task>();
    HeadStart: named, word, words::<HeadStart>();
    AdapterDtype: named, word, words::<AdapterDtype>();
    MaskPrompt: named, word, words::<MaskPrompt>();
    WeightsDtype: named, word, words::<WeightsDtype>();
    Quantize: named, word, words::<Quantize>();
    GradCheckpointing: |text| one_of(text, GradCheckpointing::WORDS), word, GradCheckpointing::WORDS;
}

impl<T: FromStr + ToString> Written for List<T>
where
    T::Err: std::fmt::Display,
{
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn write(&self) -> String {
        joined(self.0.iter().map(ToString::to_string), ',')
    }
}

fn written_prompts(prompts: &Prompts) -> String {
    match &prompts.0[..] {
        [empty] if empty.is_empty() => r"\".into(),
        all => joined(all.to_vec(), '|'),
    }
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|e: T::Err| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_prompts_are_read_as_they_are_written() {
        let list = List(vec!["a,b".to_owned(), r"c\".into(), r"d\,".into(), "é".into()]);
        assert_eq!(list.write(), r"a\,b,c\\,d\\\,,é");
        assert_eq!(List::read(&list.write()), Ok(list));
        let prompts = Prompts(vec!["a|b\nc".into(), String::new(), r"\n".into(), "\\".into()]);
        assert_eq!(prompts.write(), r"a\|b\nc||\\n|\\");
        assert_eq!(Prompts::read(&prompts.write()), Ok(prompts));
        for few in [vec![], vec![String::new()], vec!["\\".to_owned()]].map(Prompts) {
            assert_eq!(Prompts::read(&few.write()), Ok(few));
        }
        assert_eq!(r"one\n|two\t".parse(), Ok(Prompts(vec!["one\n".into(), r"two\t".into()])));
        assert_eq!("1, 2,,3".parse(), Ok(List(vec![1u32, 2, 3])));
        assert!("1,x".parse::<List<u32>>().expect_err("no number").starts_with("x: "));
    }

    #[test]
    fn numbers_are_written_short_and_exactly() {
        let written: Vec<String> = [1e-8, 0.99, 16.0, 2e-3, 1e30].iter().map(Written::write).collect();
        assert_eq!(written, ["1e-8", "0.99", "16", "0.002", "1e30"]);
        assert_eq!(f64::read(" 2e-3 "), Ok(2e-3));
    }
}
