//! What a run works on, loaded as its settings say.

use crate::{
    Error, Result,
    config::{Init, RunConfig, Task},
    data::{DataSettings, Dataset, Source, Tokenizer},
    device::ComputeDevice,
    model::{Pretrained, pretrained::read_architecture},
    source::{Progress, Report, embedded, model_folder},
    train::{
        Inputs,
        estimate::{Rows, settle},
        inputs::{data_settings, keeping, load_base},
        purpose::purpose,
    },
};

/// Loads model, tokenizer and data onto a device that is open; `with_test` also the test file beside the training file, if
/// there is one.
///
/// # Errors
/// Whatever is wrong with them.
pub fn load_inputs(config: &RunConfig, device: ComputeDevice, with_test: bool, report: Report<'_>) -> Result<Inputs> {
    if is_all_embedded(config) {
        report(Progress::Stage("loading the model and the data inside this program"));
        return load_embedded(config, device);
    }
    let folder = model_folder(config)?;
    let (_, architecture) = read_architecture(&folder)?;
    report(Progress::Stage("reading the tokenizer and the data"));
    let tokenizer = Tokenizer::from_folder(&folder)?.with_chat_date(&config.chat_date)?;
    let settings = DataSettings { with_test, ..data_settings(config, architecture.max_positions)? };
    let dataset = Dataset::load(&settings, &tokenizer)?;
    let purpose = purpose(config, &dataset.classes, &tokenizer)?;
    if !config.memory_budget.is_empty() {
        // Who gave a budget should not have to load a model that does not fit it.
        let rows = Rows::of(&dataset);
        settle(&mut config.clone(), &architecture, dataset.classes.len(), &rows, &device.facts)?;
    }
    report(Progress::Stage("loading the model"));
    Ok(Inputs { base: load_base(config, purpose, &device)?, tokenizer, dataset, device })
}

/// Whether model and data are those inside this program, used as they are.
pub(super) fn is_all_embedded(config: &RunConfig) -> bool {
    let both = embedded::is_embedded(&config.model) && embedded::is_embedded(&config.data);
    let plain = config.revision.is_empty() && config.valid_data.as_os_str().is_empty();
    both && plain && config.task == Task::CausalLm && config.init == Init::Pretrained
}

/// The model and the data inside this program, read where they are, without any file.
fn load_embedded(config: &RunConfig, device: ComputeDevice) -> Result<Inputs> {
    let weights = embedded::WEIGHTS.to_vec();
    let base = Pretrained::from_bytes_as(embedded::NAME, embedded::CONFIG, weights, keeping(config), &device)?;
    let described: serde_json::Value =
        serde_json::from_str(embedded::CONFIG).map_err(|e| Error::Run(format!("the embedded config.json: {e}")))?;
    let eos = described["eos_token_id"].as_u64().map(|id| id as u32);
    let settings = Some(embedded::TOKENIZER_CONFIG.as_bytes());
    let tokenizer = Tokenizer::from_parts(embedded::TOKENIZER.as_bytes(), settings, None, eos.as_slice())?;
    let tokenizer = tokenizer.with_chat_date(&config.chat_date)?;
    let settings = data_settings(config, base.transformer.architecture.max_positions)?;
    let source = |name: &str, text: &'static str| Source::from_bytes(name, text.as_bytes());
    let (train, valid) = (source("demo train", embedded::TRAIN)?, source("demo valid", embedded::VALID)?);
    let dataset = Dataset::from_sources(train, Some(valid), &settings, &tokenizer)?;
    Ok(Inputs { base, tokenizer, dataset, device })
}
