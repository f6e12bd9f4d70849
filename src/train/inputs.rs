//! What a run works on: model, tokenizer, data and device, loaded as the settings say.

use std::path::PathBuf;

use crate::{
    Error, Result,
    config::{Init, RunConfig},
    data::{DataSettings, Dataset, Tokenizer},
    device::{self, ComputeDevice},
    model::{Pretrained, classifier::Purpose, pretrained::read_config},
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
        let tokenizer = {
            read_config(&config.model)?;
            Tokenizer::from_folder(&config.model)?
        };
        let device = device::open(&config.device).await?;
        let base = match config.init {
            Init::Pretrained => Pretrained::load(&config.model, &device)?,
            Init::Random => Pretrained::random(&config.model, config.seed, Purpose::LanguageModel, &device)?,
        };
        let settings = data_settings(config, base.transformer.architecture.max_positions)?;
        let dataset = Dataset::load(&settings, &tokenizer)?;
        Ok(Self { base, tokenizer, dataset, device })
    }
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
        ..DataSettings::default()
    })
}
