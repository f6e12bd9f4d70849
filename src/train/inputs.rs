//! What a run works on: model, tokenizer, data and device, loaded as the settings say.

use std::path::PathBuf;

use super::{
    estimate::{Rows, settle},
    purpose::purpose,
};
use crate::{
    Error, Result,
    config::{Init, RunConfig, Task},
    data::{ClassifySettings, DataSettings, DataTask, Dataset, Tokenizer},
    device::{self, ComputeDevice},
    method::adapter::Adapter,
    model::{Architecture, Pretrained, pretrained::read_architecture},
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
        // A typing error in a path should not cost the opening of a device.
        read_architecture(&model_folder(config)?)?;
        Self::load_on(config, device::open(&config.device).await?, false)
    }

    /// Loads them onto a device that is open; `with_test` also the test file beside the training file, if there is one.
    ///
    /// # Errors
    /// Whatever is wrong with them.
    pub fn load_on(config: &RunConfig, device: ComputeDevice, with_test: bool) -> Result<Self> {
        let folder = model_folder(config)?;
        let (_, architecture) = read_architecture(&folder)?;
        let tokenizer = Tokenizer::from_folder(&folder)?;
        let settings = DataSettings { with_test, ..data_settings(config, architecture.max_positions)? };
        let dataset = Dataset::load(&settings, &tokenizer)?;
        let purpose = purpose(config, &dataset.classes, &tokenizer)?;
        if !config.memory_budget.is_empty() {
            // Who gave a budget should not have to load a model that does not fit it.
            let rows = Rows::of(&dataset);
            settle(&mut config.clone(), &architecture, dataset.classes.len(), &rows, &device.facts)?;
        }
        let base = match config.init {
            Init::Pretrained => Pretrained::load_for(&folder, purpose, &device)?,
            Init::Random => Pretrained::random(&folder, config.seed, purpose, &device)?,
        };
        Ok(Self { base, tokenizer, dataset, device })
    }

    /// [`settle`]s how a run of these uses memory; one that is `resumed` keeps the batches that it has.
    pub(super) fn settle(&self, config: &mut RunConfig, resumed: bool) -> Result<Option<String>> {
        if !config.init_adapter.as_os_str().is_empty() {
            Adapter::read(&config.init_adapter)?.check_base(&self.base)?;
        }
        let budget = if resumed { std::mem::take(&mut config.memory_budget) } else { String::new() };
        let architecture = &self.base.transformer.architecture;
        let (classes, rows) = (self.base.classes().len(), Rows::of(&self.dataset));
        let choice = settle(config, architecture, classes, &rows, &self.device.facts)?;
        if resumed {
            config.memory_budget = budget;
        }
        Ok(choice)
    }
}

/// What is known of a run without the weights of its model.
pub struct Outlook {
    /// What the model looks like.
    pub architecture: Architecture,
    /// Number of classes; 0 in language modelling, and where neither settings nor data tell them.
    pub classes: usize,
    /// The rows, as far as memory is concerned; the most that the settings allow where there are no data.
    pub rows: Rows,
}

impl Outlook {
    /// Reads description and tokenizer of the model and the data, if `config` names any. Of a model on the hub nothing
    /// else is fetched.
    ///
    /// # Errors
    /// Whatever is wrong with them.
    pub fn load(config: &RunConfig, quiet: bool) -> Result<Self> {
        let (folder, architecture) = described(config, quiet)?;
        if config.data.as_os_str().is_empty() {
            let rows = Rows::unknown(config, &architecture)?;
            return Ok(Self { architecture, classes: config.classes.0.len(), rows });
        }
        let tokenizer = Tokenizer::from_folder(&folder)?;
        let dataset = Dataset::load(&data_settings(config, architecture.max_positions)?, &tokenizer)?;
        dataset.check_vocabulary(architecture.vocab_size)?;
        Ok(Self { architecture, classes: dataset.classes.len(), rows: Rows::of(&dataset) })
    }
}

/// Folder and description of the model that `config` names, fetched from the hub without its weights if it has to be.
///
/// # Errors
/// No such model, or one that is not supported.
pub fn described(config: &RunConfig, quiet: bool) -> Result<(PathBuf, Architecture)> {
    let folder = folder_of(config, false, quiet)?;
    let (_, architecture) = read_architecture(&folder)?;
    Ok((folder, architecture))
}

/// Where the model is; one of the hub is in its cache already if [`pin`] was called.
fn model_folder(config: &RunConfig) -> Result<PathBuf> {
    folder_of(config, config.init == Init::Pretrained, true)
}

#[cfg(not(target_arch = "wasm32"))]
fn folder_of(config: &RunConfig, weights: bool, quiet: bool) -> Result<PathBuf> {
    let wanted = crate::hub::Wanted { weights, ..wanted(config, quiet) };
    wanted.locate().map(|located| located.folder)
}

#[cfg(target_arch = "wasm32")]
fn folder_of(config: &RunConfig, _weights: bool, _quiet: bool) -> Result<PathBuf> {
    Ok(config.model.clone())
}

/// Fetches a model of the hub and writes its commit into the settings, so that the run can be repeated exactly.
/// A model folder stays as it is.
///
/// # Errors
/// As [`Wanted::locate`](crate::hub::Wanted::locate).
#[cfg(not(target_arch = "wasm32"))]
pub fn pin(config: &mut RunConfig, quiet: bool) -> Result<()> {
    if let Some(origin) = wanted(config, quiet).locate()?.origin {
        config.model = origin.repository.into();
        config.revision = origin.commit;
    }
    Ok(())
}

#[cfg(not(target_arch = "wasm32"))]
fn wanted(config: &RunConfig, quiet: bool) -> crate::hub::Wanted<'_> {
    let weights = config.init == Init::Pretrained;
    crate::hub::Wanted { model: &config.model, revision: &config.revision, weights, quiet }
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
