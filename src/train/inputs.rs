//! What a run works on: model, tokenizer, data and device, loaded as the settings say.

use std::path::PathBuf;

use super::{
    estimate::{Rows, settle},
    place::{described, model_folder},
    purpose::purpose,
};
use crate::{
    Error, Result,
    config::{Init, Quantize, RunConfig, Task, WeightsDtype},
    data::{ClassifySettings, DataSettings, DataTask, Dataset, Source, Tokenizer},
    demo,
    device::{self, ComputeDevice},
    kernel::Packing,
    method::adapter::Adapter,
    model::{Architecture, Keeping, Pretrained, classifier::Purpose, pretrained::read_architecture},
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
        if !is_demo(config) {
            // A typing error in a path should not cost the opening of a device.
            read_architecture(&model_folder(config)?)?;
        }
        Self::load_on(config, device::open(&config.device).await?, false)
    }

    /// Loads them onto a device that is open; `with_test` also the test file beside the training file, if there is one.
    ///
    /// # Errors
    /// Whatever is wrong with them.
    pub fn load_on(config: &RunConfig, device: ComputeDevice, with_test: bool) -> Result<Self> {
        Self::load_telling(config, device, with_test, &mut |_| {})
    }

    /// As [`Self::load_on`]; tells what is loaded, as half a sentence, before it is.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn load_telling(
        config: &RunConfig,
        device: ComputeDevice,
        with_test: bool,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        if is_demo(config) {
            tell("loading the model and the data inside this program");
            return Self::embedded(config, device);
        }
        let folder = model_folder(config)?;
        let (_, architecture) = read_architecture(&folder)?;
        tell("reading the tokenizer and the data");
        let tokenizer = Tokenizer::from_folder(&folder)?.with_chat_date(&config.chat_date)?;
        let settings = DataSettings { with_test, ..data_settings(config, architecture.max_positions)? };
        let dataset = Dataset::load(&settings, &tokenizer)?;
        let purpose = purpose(config, &dataset.classes, &tokenizer)?;
        if !config.memory_budget.is_empty() {
            // Who gave a budget should not have to load a model that does not fit it.
            let rows = Rows::of(&dataset);
            settle(&mut config.clone(), &architecture, dataset.classes.len(), &rows, &device.facts)?;
        }
        tell("loading the model");
        Ok(Self { base: load_base(config, purpose, &device)?, tokenizer, dataset, device })
    }

    /// The model and the data inside this program, read where they are, without any file.
    ///
    /// # Errors
    /// Settings that do not fit them.
    pub fn embedded(config: &RunConfig, device: ComputeDevice) -> Result<Self> {
        let weights = demo::WEIGHTS.to_vec();
        let base = Pretrained::from_bytes_as(demo::NAME, demo::CONFIG, weights, keeping(config), &device)?;
        let tokenizer = embedded_tokenizer()?.with_chat_date(&config.chat_date)?;
        let settings = data_settings(config, base.transformer.architecture.max_positions)?;
        let source = |name: &str, text: &'static str| Source::from_bytes(name, text.as_bytes());
        let (train, valid) = (source("demo train", demo::TRAIN)?, source("demo valid", demo::VALID)?);
        let dataset = Dataset::from_sources(train, Some(valid), &settings, &tokenizer)?;
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
        let tokenizer = Tokenizer::from_folder(&folder)?.with_chat_date(&config.chat_date)?;
        let dataset = Dataset::load(&data_settings(config, architecture.max_positions)?, &tokenizer)?;
        dataset.check_vocabulary(architecture.vocab_size)?;
        Ok(Self { architecture, classes: dataset.classes.len(), rows: Rows::of(&dataset) })
    }
}

/// The tokenizer of the model inside this program.
///
/// # Errors
/// None that a released program has.
pub fn embedded_tokenizer() -> Result<Tokenizer> {
    let config: serde_json::Value =
        serde_json::from_str(demo::CONFIG).map_err(|e| Error::Run(format!("the embedded config.json: {e}")))?;
    let eos = config["eos_token_id"].as_u64().map(|id| id as u32);
    let described = Some(demo::TOKENIZER_CONFIG.as_bytes());
    Tokenizer::from_parts(demo::TOKENIZER.as_bytes(), described, None, eos.as_slice())
}

/// Whether model and data are those inside this program, used as they are.
pub fn is_demo(config: &RunConfig) -> bool {
    let embedded = demo::is_embedded(&config.model) && demo::is_embedded(&config.data);
    let plain = config.revision.is_empty() && config.valid_data.as_os_str().is_empty();
    embedded && plain && config.task == Task::CausalLm && config.init == Init::Pretrained
}

/// How weights are kept on a GPU by these settings.
pub fn kept(dtype: WeightsDtype, quantize: Quantize) -> Keeping {
    let quantized = match quantize {
        Quantize::None => None,
        Quantize::Q8 => Some(Packing::Q8),
        Quantize::Q4 => Some(Packing::Q4),
    };
    Keeping { packed: dtype == WeightsDtype::Auto, quantized }
}

/// How a run keeps its weights on a GPU.
pub(super) fn keeping(config: &RunConfig) -> Keeping {
    kept(config.weights_dtype, config.quantize)
}

/// The model that a run starts from, on a device.
///
/// # Errors
/// No such model, or one that cannot serve the purpose.
pub fn load_base(config: &RunConfig, purpose: Purpose, device: &ComputeDevice) -> Result<Pretrained> {
    let folder = model_folder(config)?;
    match config.init {
        Init::Pretrained => Pretrained::load_as(&folder, purpose, keeping(config), device),
        Init::Random => Pretrained::random(&folder, config.seed, purpose, device),
    }
}

/// What the data module is asked for. A length of 0 means 512 or the model's limit.
///
/// # Errors
/// A length beyond the model's positions, or no place to unpack the embedded data.
pub fn data_settings(config: &RunConfig, max_positions: usize) -> Result<DataSettings> {
    if config.max_seq_length > max_positions {
        return Err(Error::input(format!(
            "--max-seq-length {}: the model has only {max_positions} positions",
            config.max_seq_length
        )));
    }
    let given = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
    Ok(DataSettings {
        data: demo::data(&config.data)?,
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
