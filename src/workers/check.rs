//! A run checked without being started: what is wrong, setting by setting, and what its model and data are.

use std::path::Path;

use super::cache::{Cache, CachedModel, DataSummary};
use crate::{
    Error, Result,
    config::{Init, RunConfig, Task},
    data::{DataFiles, DataSettings, Dataset, Format, Source, Split},
    device::{self, DeviceChoice},
    event::messages::{Estimate, Setup},
    format::{bytes, count},
    generate::check_prompt,
    method::targets,
    model::{Transformer, classifier::Purpose, weights::Weights},
    session::Faults,
    source::{self, ModelSource, needed},
    storage,
    train::{
        checkpoint,
        estimate::{Rows, estimate},
        inputs::data_settings,
        purpose::purpose,
    },
};

/// Data files up to this size are read as a whole.
const WHOLE_BYTES: u64 = 20_000_000;
/// Of larger ones this much is read.
const PART_BYTES: usize = 2_000_000;

/// What a check found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub faults: Faults,
    pub facts: Vec<String>,
    pub estimate: Option<Estimate>,
}

/// Checks a run; `None` as soon as somebody wants another one checked instead.
pub(super) async fn check(setup: &Setup, cache: &mut Cache, superseded: &dyn Fn() -> bool) -> Option<Found> {
    let (config, faults) = Faults::of(setup);
    let mut found = Found { faults, ..Found::default() };
    if setup.resume && !config.out.as_os_str().is_empty() {
        resumed(&config.out, &mut found);
    }
    device(&config, cache, &mut found).await;
    if superseded() {
        return None;
    }
    if config.model.as_os_str().is_empty() {
        return Some(found);
    }
    let model = match model(&config, cache, &mut found) {
        Ok(Some(model)) => model,
        // Of a model that is still on the hub no more is known.
        Ok(None) => return Some(found),
        Err(error) => {
            found.faults.blame("model", &error);
            return Some(found);
        }
    };
    if superseded() {
        return None;
    }
    let summary = match data(&config, &model, cache, &mut found) {
        Ok(summary) => summary,
        Err(error) => {
            found.faults.blame("data", &error);
            None
        }
    };
    if superseded() {
        return None;
    }
    let classes = summary.as_ref().map_or(&[][..], |summary| &summary.classes);
    if let Err(error) = adaptation(&config, &model, classes, summary.is_some()) {
        found.faults.blame("target_modules", &error);
    }
    found.estimate = memory(&config, &model, summary.as_ref(), cache).await;
    Some(found)
}

/// The memory that the run will take, where nothing that it depends on is wrong.
async fn memory(
    config: &RunConfig,
    model: &CachedModel,
    summary: Option<&DataSummary>,
    cache: &mut Cache,
) -> Option<Estimate> {
    let devices = cache.devices().await;
    let (place, _) = device::choose(&config.device, devices).ok()?;
    let rows = match summary.and_then(|summary| summary.rows.clone()) {
        Some(rows) => rows,
        None => Rows::unknown(config, &model.architecture).ok()?,
    };
    let classes = summary.map_or(config.classes.0.len(), |summary| summary.classes.len());
    estimate(config, &model.architecture, classes, &rows, &devices[place]).ok()
}

/// From where a run in a folder will continue.
fn resumed(out: &Path, found: &mut Found) {
    match checkpoint::list(&out.join("checkpoints")).last() {
        Some((step, _)) => found.facts.push(format!("resumes after step {}", count(*step as usize))),
        None => {
            let message = format!("{}: this run has no checkpoint yet; start it anew instead", out.display());
            found.faults.blame("out", &Error::Input(message));
        }
    }
}

async fn device(config: &RunConfig, cache: &mut Cache, found: &mut Found) {
    if matches!(config.device, DeviceChoice::Cpu | DeviceChoice::Auto) {
        return;
    }
    let devices = cache.devices().await;
    found.faults.unless("device", device::choose(&config.device, devices).map(|_| ()));
}

/// The model without its weights; `None` for one that has to be fetched first.
fn model(config: &RunConfig, cache: &mut Cache, found: &mut Found) -> Result<Option<CachedModel>> {
    let Some(folder) = ModelSource::of(config)?.folder_here(needed(config))? else {
        found
            .facts
            .push(format!("{}: a model of the Hugging Face hub, fetched when the run starts", config.model.display()));
        return Ok(None);
    };
    let model = cache.model(&folder)?;
    if config.init == Init::Pretrained {
        Weights::open(&folder)?;
    }
    let a = &model.architecture;
    let layers = if a.layers() == 1 { "1 layer".into() } else { format!("{} layers", count(a.layers())) };
    found.facts.push(format!("{}, {} parameters, {layers}", a.model_type, count(a.parameters())));
    Ok(Some(model))
}

/// A look at the data; `None` where there is none, or its settings are wrong already.
fn data(config: &RunConfig, model: &CachedModel, cache: &mut Cache, found: &mut Found) -> Result<Option<DataSummary>> {
    if found.faults.blames("data") || config.max_seq_length == 1 {
        return Ok(None);
    }
    let given = !config.valid_data.as_os_str().is_empty() && !found.faults.blames("valid_data");
    let valid = given.then_some(config.valid_data.as_path());
    let files = DataFiles::find(&source::data(&config.data)?, valid)?;
    let settings = match data_settings(config, model.architecture.max_positions) {
        Ok(settings) => settings,
        Err(error) => {
            found.faults.blame("max_seq_length", &error);
            return Ok(None);
        }
    };
    let summary = cache.data(&settings, &files, model, || look(&settings, &files, model));
    let summary = summary.map_err(|error| match (valid, &files.valid) {
        // Messages about a file begin with its name.
        (Some(_), Some(file)) if error.to_string().contains(&file.display().to_string()) => {
            Error::input(format!("--valid-data: {error}"))
        }
        _ => error,
    })?;
    describe(&summary, found);
    let vocabulary = model.architecture.vocab_size;
    if summary.max_id as usize >= vocabulary {
        return Err(Error::input(format!(
            "the tokenizer gives token {}, but the model's vocabulary has only {vocabulary}; tokenizer and model do not \
             belong together",
            summary.max_id
        )));
    }
    Ok(Some(summary))
}

/// Reads the data, or of a large file its first part.
fn look(settings: &DataSettings, files: &DataFiles, model: &CachedModel) -> Result<DataSummary> {
    let length = |path: &Path| storage::length(path).unwrap_or(0);
    let (train, tokenizer) = (Source::from_path(&files.train)?, &model.tokenizer);
    let valid = files.valid.as_deref().map(Source::from_path).transpose()?;
    let bytes = train.bytes().len() as u64;
    let summary = |dataset: Dataset, share: f64| {
        let max_id = [Some(&dataset.train), dataset.valid.as_ref()].into_iter().flatten().map(Split::max_id);
        let max_id = max_id.max().unwrap_or(0);
        DataSummary {
            rows: Some(Rows::of(&dataset)),
            report: Some((dataset.report, share)),
            bytes,
            classes: dataset.classes,
            max_id,
        }
    };
    if bytes + files.valid.as_deref().map_or(0, length) <= WHOLE_BYTES {
        return Ok(summary(Dataset::from_sources(train, valid, settings, tokenizer)?, 1.0));
    }
    // Lists and columns cannot be cut.
    let lines = matches!(train.format()?, Format::JsonLines | Format::Table { .. } | Format::PlainText);
    let part = &train.bytes()[..train.bytes().len().min(PART_BYTES)];
    let part = &part[..part.iter().rposition(|&byte| byte == b'\n').unwrap_or(0)];
    if !lines || part.is_empty() {
        return Ok(DataSummary { rows: None, report: None, bytes, classes: Vec::new(), max_id: 0 });
    }
    let share = part.len() as f64 / train.bytes().len() as f64;
    let part = Source::from_bytes(train.name(), part.to_vec())?;
    Ok(summary(Dataset::from_sources(part, None, settings, tokenizer)?, share))
}

/// What the data are, as sentences.
fn describe(summary: &DataSummary, found: &mut Found) {
    let Some((report, share)) = &summary.report else {
        found.facts.push(format!("{} of data, read when the run starts", bytes(summary.bytes)));
        return;
    };
    let rows = |rows: usize, tokens: usize| {
        let rows = if rows == 1 { "1 row".into() } else { format!("{} rows", count(rows)) };
        format!("{rows}, {} tokens", count(tokens))
    };
    let train = rows(report.train.rows, report.train.tokens);
    found.facts.push(match share {
        1.0 => train,
        share => format!("{train} in the first {:.1} % of {}", 100.0 * share, bytes(summary.bytes)),
    });
    if let Some(valid) = &report.valid {
        found.facts.push(format!("validation: {}", rows(valid.rows, valid.tokens)));
    }
    if !summary.classes.is_empty() {
        found.facts.push(format!("{} classes: {}", summary.classes.len(), summary.classes.join(", ")));
    }
    for (name, skipped) in [
        ("training", report.train.skipped_rows),
        ("validation", report.valid.as_ref().map_or(0, |valid| valid.skipped_rows)),
    ] {
        if skipped > 0 {
            found.facts.push(format!("{} {name} rows cannot be used and are left out", count(skipped)));
        }
    }
    found.facts.extend(report.notes.iter().cloned());
}

/// What is trained of the model, and what it is asked meanwhile.
fn adaptation(config: &RunConfig, model: &CachedModel, classes: &[String], data_known: bool) -> Result<()> {
    let for_what = match config.task {
        Task::Classify if !data_known => return Ok(()),
        _ => purpose(config, classes, &model.tokenizer)?,
    };
    let outline = Transformer::outline(model.architecture.clone(), for_what.head());
    targets::select(&outline, &config.target_modules.0, &config.frozen_modules.0)?;
    prompts(config, model, &for_what)
}

fn prompts(config: &RunConfig, model: &CachedModel, for_what: &Purpose) -> Result<()> {
    if !config.sample_prompts.0.is_empty() && *for_what != Purpose::LanguageModel {
        return Err(Error::input("--sample-prompts: a classifier writes no text"));
    }
    for prompt in &config.sample_prompts.0 {
        let ids = model.tokenizer.encode(prompt, true)?;
        check_prompt(&model.architecture, &ids)
            .map_err(|e| Error::input(format!("--sample-prompts \"{prompt}\": {e}")))?;
    }
    Ok(())
}
