//! What the model of a run is loaded for: its classes, and how their head starts.

use crate::{
    Error, Result,
    config::{HeadStart, RunConfig, Task},
    data::Tokenizer,
    model::classifier::{self, Classify, Purpose},
};

/// What the model is loaded for.
///
/// # Errors
/// Response words that do not fit the classes.
pub fn purpose(config: &RunConfig, classes: &[String], tokenizer: &Tokenizer) -> Result<Purpose> {
    if config.task == Task::CausalLm {
        return Ok(Purpose::LanguageModel);
    }
    let start = match config.head_start {
        HeadStart::Random => classifier::HeadStart::Random { seed: config.seed },
        HeadStart::FromVocabulary => classifier::HeadStart::Vocabulary(response_tokens(config, classes, tokenizer)?),
    };
    let template = Some(config.template.clone()).filter(|template| !template.is_empty());
    Ok(Purpose::Classify(Classify { classes: classes.to_vec(), start, template }))
}

/// The first token of each class's response word.
fn response_tokens(config: &RunConfig, classes: &[String], tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    let words = if config.response_words.0.is_empty() { classes } else { &config.response_words.0[..] };
    if words.len() != classes.len() {
        return Err(Error::input(format!(
            "--response-words gives {} words for the {} classes {}",
            words.len(),
            classes.len(),
            classes.join(", ")
        )));
    }
    let mut tokens: Vec<u32> = Vec::new();
    for word in words {
        let ids = tokenizer.encode(word, false)?;
        let Some(&token) = ids.first() else {
            return Err(Error::input(format!("--response-words: the tokenizer makes no token of \"{word}\"")));
        };
        if let Some(other) = tokens.iter().position(|&other| other == token) {
            return Err(Error::input(format!(
                "--head-start from-vocabulary: \"{}\" and \"{word}\" begin with the same token; give other \
                 --response-words",
                words[other]
            )));
        }
        tokens.push(token);
    }
    Ok(tokens)
}
