//! What a run works on: model, tokenizer, data and device, and how its settings ask for them.

use std::path::PathBuf;

use crate::{
    Error, Result,
    config::{Init, Quantize, RunConfig, Task, WeightsDtype},
    data::{ClassifySettings, DataSettings, DataTask, Dataset, Tokenizer},
    device::ComputeDevice,
    kernel::Packing,
    model::{Keeping, Pretrained, classifier::Purpose},
    source::{self, model_folder},
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
pub fn keeping(config: &RunConfig) -> Keeping {
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
/// A length beyond the model's positions, or no folder to unpack the embedded data to.
pub fn data_settings(config: &RunConfig, max_positions: usize) -> Result<DataSettings> {
    if config.max_seq_length > max_positions {
        return Err(Error::input(format!(
            "--max-seq-length {}: the model has only {max_positions} positions",
            config.max_seq_length
        )));
    }
    let given = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
    Ok(DataSettings {
        data: source::data(&config.data)?,
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
