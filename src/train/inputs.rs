//! What a run works on: model, tokenizer, data and device, loaded as the settings say.

use std::path::PathBuf;

use crate::{
    Error, Result,
    config::{HeadStart, Init, RunConfig, Task},
    data::{ClassifySettings, DataSettings, DataTask, Dataset, Tokenizer},
    device::{self, ComputeDevice},
    model::{
        Pretrained,
        classifier::{self, Classify, Purpose},
        pretrained::read_architecture,
    },
};

/// What a run works on. A front end may bring its own (the embedded demo, a browser's files).
pub struct Inputs {
    /// The model, on `device`.
    pub base: Pretrained,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Training and validation rows.
    pub dataset: Dataset,
    /// Where everything is computed.
    pub device: ComputeDevice,
}

impl Inputs {
    /// Opens the device and loads model, tokenizer and data that `config` names.
    ///
    /// # Errors
    /// Whatever is wrong with them.
    pub async fn load(config: &RunConfig) -> Result<Self> {
        // Cheap checks first: a typing error should not cost the loading of a model.
        let (_, architecture) = read_architecture(&config.model)?;
        let tokenizer = Tokenizer::from_folder(&config.model)?;
        let device = device::open(&config.device).await?;
        let dataset = Dataset::load(&data_settings(config, architecture.max_positions)?, &tokenizer)?;
        let purpose = purpose(config, &dataset.classes, &tokenizer)?;
        let base = match config.init {
            Init::Pretrained => Pretrained::load_for(&config.model, purpose, &device)?,
            Init::Random => Pretrained::random(&config.model, config.seed, purpose, &device)?,
        };
        Ok(Self { base, tokenizer, dataset, device })
    }
}

/// What the model is loaded for.
fn purpose(config: &RunConfig, classes: &[String], tokenizer: &Tokenizer) -> Result<Purpose> {
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

/// What the data module is asked for. A length of 0 means 512 or the model's limit.
///
/// # Errors
/// A length beyond the model's positions.
pub fn data_settings(config: &RunConfig, max_positions: usize) -> Result<DataSettings> {
    if config.max_seq_length > max_positions {
        return Err(Error::input(format!(
            "--max-seq-length {}: the model has only {max_positions} positions",
            config.max_seq_length
        )));
    }
    let given = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
    Ok(DataSettings {
        data: config.data.clone(),
        valid: given(&config.valid_data),
        max_seq_length: if config.max_seq_length == 0 { max_positions.min(512) } else { config.max_seq_length },
        mask_prompt: config.mask_prompt.as_option(),
        skip_bad_rows: config.skip_bad_rows,
        append_eos: true,
        task: match config.task {
            Task::CausalLm => DataTask::LanguageModel,
            Task::Classify => DataTask::Classify(ClassifySettings {
                template: Some(config.template.clone()).filter(|template| !template.is_empty()),
                classes: Some(config.classes.0.clone()).filter(|classes| !classes.is_empty()),
            }),
        },
        with_test: false,
    })
}
