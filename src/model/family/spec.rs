//! What is said of a model family: one value, in a file of its own.

use crate::{
    Result,
    model::{architecture::Architecture, fields::Fields},
};

/// A model family.
#[derive(Debug)]
pub struct Family {
    /// Its `model_type` in `config.json`.
    pub model_type: &'static str,
    /// What the names of its classes in transformers begin with, as `Llama` in `LlamaForCausalLM`.
    pub class: &'static str,
    /// Reads `config.json`: sizes, choices and the names of tensors.
    pub describe: fn(&Fields) -> Result<Architecture>,
    /// Fields of its `config.json` that are not read and change nothing, besides those that change nothing in any family.
    pub ignored: &'static [&'static str],
    /// Tensors that its checkpoints may have and that the model does not use, besides those of every family.
    pub left_over: &'static [(&'static str, LeftOver)],
    /// How GGUF, the format of llama.cpp, has it; `None` where it has no place for it.
    pub gguf: Option<Gguf>,
}

/// A tensor that a model does not use, and what it must then be. It is named by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOver {
    /// Anything: part of another head. This one is named by the beginning of its name.
    OtherHead,
    /// A mask that hides later positions, 0 where it hides.
    CausalMask,
    /// The large negative score of what a mask hides.
    HiddenScore,
    /// Inverse frequencies of the rotary embedding.
    Frequencies,
    /// The positions 0, 1, 2, ...
    PositionIds,
}

/// How GGUF has a family. Names and conversions follow llama.cpp's converter of Hugging Face folders; what is not said here
/// follows from the [`Architecture`].
#[derive(Clone, Copy, Debug)]
pub struct Gguf {
    /// `general.architecture`.
    pub name: &'static str,
    /// Rotation turns neighbouring entries, not those of the two halves of a head: rows of queries and keys are re-ordered,
    /// and frequencies may be stretched by a tensor of their own.
    pub neighbours: bool,
    /// The tensor that takes what is left of the factor on the scores, which llama.cpp takes from the size of the model; and
    /// the number of blocks of the family's largest model, for which it has another rule.
    pub score_factor: Option<(&'static str, usize)>,
    /// All blocks but every so-many-th have a window; `None` where there is no place for windows.
    pub window_period: Option<usize>,
    /// Whether there is a place for the bounds of scores and logits.
    pub softcaps: bool,
}

impl Gguf {
    /// A family without any of this.
    pub const fn plain(name: &'static str) -> Self {
        Self { name, neighbours: false, score_factor: None, window_period: None, softcaps: false }
    }
}
