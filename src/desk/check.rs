//! A run checked without being started: what is wrong, setting by setting, and what its model and data are.

use std::path::Path;

use super::{
    known::{Known, Model, Seen},
    running::{missing, with_demo},
};
use crate::{
    Error, Result,
    config::{Init, RunConfig, Task},
    data::{DataFiles, DataSettings, Dataset, Format, Source, Split},
    demo,
    device::{self, DeviceChoice},
    event::messages::{Estimate, Fault, Setup},
    format::{bytes, count},
    method::{self, adapter::Adapter, mask, targets},
    model::{Transformer, classifier::Purpose, generate::Generation, sample::Sampling, weights::Weights},
    storage,
    train::{
        checkpoint,
        estimate::{Rows, estimate},
        folder::{check_out, stored_config, unresumable},
        inputs::data_settings,
        lock,
        place::nearby,
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
    pub faults: Vec<Fault>,
    pub facts: Vec<String>,
    pub estimate: Option<Estimate>,
}

impl Found {
    /// Blames the setting that the message begins with, else `setting`.
    fn blame(&mut self, setting: &str, error: &Error) {
        let message = error.to_string();
        let word = message.strip_prefix("--").and_then(|rest| rest.split([' ', ':']).next()).unwrap_or_default();
        let named = word.replace('-', "_");
        let known = crate::config::settings().iter().any(|known| known.name == named);
        let setting = if known { named } else { setting.to_owned() };
        self.faults.push(Fault { setting, message });
    }

    fn unless(&mut self, setting: &str, result: Result<()>) {
        if let Err(error) = result {
            self.blame(setting, &error);
        }
    }
}

/// Checks a run; `None` as soon as somebody wants another one checked instead.
pub(super) async fn check(setup: &Setup, known: &mut Known, superseded: &dyn Fn() -> bool) -> Option<Found> {
    let config = with_demo(setup);
    let mut found = Found::default();
    let fault = |(setting, message): (&str, String)| Fault { setting: setting.to_owned(), message };
    found.faults.extend(missing(&config, setup.demo).into_iter().map(fault));
    found.faults.extend(config.faults().into_iter().map(|f| fault((f.setting, f.message))));
    let entry = method::find(&config.method);
    if entry.as_ref().is_ok_and(|entry| entry.reads("mask")) {
        found.unless("mask", mask::find(&config.mask).map(|_| ()));
    }
    found.unless("method", entry.map(|_| ()));
    if !config.init_adapter.as_os_str().is_empty() {
        found.unless("init_adapter", Adapter::read(&config.init_adapter).map(|_| ()));
    }
    folder(setup, &config, &mut found);
    device(&config, known, &mut found).await;
    if superseded() {
        return None;
    }
    if config.model.as_os_str().is_empty() {
        return Some(found);
    }
    let model = match model(&config, known, &mut found) {
        Ok(Some(model)) => model,
        // Of a model that is still on the hub no more is known.
        Ok(None) => return Some(found),
        Err(error) => {
            found.blame("model", &error);
            return Some(found);
        }
    };
    if superseded() {
        return None;
    }
    let seen = match data(&config, &model, known, &mut found) {
        Ok(seen) => seen,
        Err(error) => {
            found.blame("data", &error);
            None
        }
    };
    if superseded() {
        return None;
    }
    let classes = seen.as_ref().map_or(&[][..], |seen| &seen.classes);
    if let Err(error) = adaptation(&config, &model, classes, seen.is_some()) {
        found.blame("target_modules", &error);
    }
    found.estimate = memory(&config, &model, seen.as_ref(), known).await;
    Some(found)
}

/// The memory that the run will take, where nothing that it depends on is wrong.
async fn memory(config: &RunConfig, model: &Model, seen: Option<&Seen>, known: &mut Known) -> Option<Estimate> {
    let devices = known.devices().await;
    let (place, _) = device::choose(&config.device, devices).ok()?;
    let rows = match seen.and_then(|seen| seen.rows.clone()) {
        Some(rows) => rows,
        None => Rows::unknown(config, &model.architecture).ok()?,
    };
    let classes = seen.map_or(config.classes.0.len(), |seen| seen.classes.len());
    estimate(config, &model.architecture, classes, &rows, &devices[place]).ok()
}

/// The folder that the run will write, or go on in.
fn folder(setup: &Setup, config: &RunConfig, found: &mut Found) {
    let out = &config.out;
    if out.as_os_str().is_empty() {
        return;
    }
    if !setup.resume {
        found.unless("out", check_out(out, setup.overwrite));
        return;
    }
    match stored_config(out) {
        Err(error) => found.blame("out", &Error::input(error.to_string())),
        Ok(stored) => {
            let differing = unresumable(&stored, config);
            found
                .faults
                .extend(differing.into_iter().map(|(setting, message)| Fault { setting: setting.into(), message }));
        }
    }
    found.unless("out", lock::refuse_held(out));
    match checkpoint::list(&out.join("checkpoints")).last() {
        Some((step, _)) => found.facts.push(format!("goes on after step {}", count(*step as usize))),
        None => found.unless(
            "out",
            Err(Error::input(format!("{}: this run has no checkpoint yet; start it anew instead", out.display()))),
        ),
    }
}

async fn device(config: &RunConfig, known: &mut Known, found: &mut Found) {
    if matches!(config.device, DeviceChoice::Cpu | DeviceChoice::Auto) {
        return;
    }
    let devices = known.devices().await;
    found.unless("device", device::choose(&config.device, devices).map(|_| ()));
}

/// The model without its weights; `None` for one that has to be fetched first.
fn model(config: &RunConfig, known: &mut Known, found: &mut Found) -> Result<Option<Model>> {
    let Some(folder) = nearby(config)? else {
        found
            .facts
            .push(format!("{}: a model of the Hugging Face hub, fetched when the run starts", config.model.display()));
        return Ok(None);
    };
    let model = known.model(&folder)?;
    if config.init == Init::Pretrained {
        Weights::open(&folder)?;
    }
    let a = &model.architecture;
    let layers = if a.layers() == 1 { "1 layer".into() } else { format!("{} layers", count(a.layers())) };
    found.facts.push(format!("{}, {} parameters, {layers}", a.model_type, count(a.parameters())));
    Ok(Some(model))
}

/// A look at the data; `None` where there is none, or its settings are wrong already.
fn data(config: &RunConfig, model: &Model, known: &mut Known, found: &mut Found) -> Result<Option<Seen>> {
    if config.data.as_os_str().is_empty() || config.max_seq_length == 1 {
        return Ok(None);
    }
    let valid = (!config.valid_data.as_os_str().is_empty()).then_some(config.valid_data.as_path());
    let place = demo::data(&config.data)?;
    let mut files = DataFiles::find(&place, None)?;
    if valid.is_some() {
        match DataFiles::find(&place, valid) {
            Ok(both) => files = both,
            Err(error) => found.blame("valid_data", &error),
        }
    }
    let settings = match data_settings(config, model.architecture.max_positions) {
        Ok(settings) => settings,
        Err(error) => {
            found.blame("max_seq_length", &error);
            return Ok(None);
        }
    };
    let seen = known.data(&settings, &files, model, || look(&settings, &files, model));
    let seen = seen.map_err(|error| match (valid, &files.valid) {
        // Messages about a file begin with its name.
        (Some(_), Some(file)) if error.to_string().contains(&file.display().to_string()) => {
            Error::input(format!("--valid-data: {error}"))
        }
        _ => error,
    })?;
    tell(&seen, found);
    let vocabulary = model.architecture.vocab_size;
    if seen.max_id as usize >= vocabulary {
        return Err(Error::input(format!(
            "the tokenizer gives token {}, but the model's vocabulary has only {vocabulary}; tokenizer and model do not \
             belong together",
            seen.max_id
        )));
    }
    Ok(Some(seen))
}

/// Reads the data, or of a large file its first part.
fn look(settings: &DataSettings, files: &DataFiles, model: &Model) -> Result<Seen> {
    let length = |path: &Path| storage::length(path).unwrap_or(0);
    let (train, tokenizer) = (Source::from_path(&files.train)?, &model.tokenizer);
    let valid = files.valid.as_deref().map(Source::from_path).transpose()?;
    let bytes = train.bytes().len() as u64;
    let seen = |dataset: Dataset, share: f64| {
        let max_id = [Some(&dataset.train), dataset.valid.as_ref()].into_iter().flatten().map(Split::max_id);
        let max_id = max_id.max().unwrap_or(0);
        Seen {
            rows: Some(Rows::of(&dataset)),
            report: Some((dataset.report, share)),
            bytes,
            classes: dataset.classes,
            max_id,
        }
    };
    if bytes + files.valid.as_deref().map_or(0, length) <= WHOLE_BYTES {
        return Ok(seen(Dataset::from_sources(train, valid, settings, tokenizer)?, 1.0));
    }
    // Lists and columns cannot be cut.
    let lines = matches!(train.format()?, Format::JsonLines | Format::Table { .. } | Format::PlainText);
    let part = &train.bytes()[..train.bytes().len().min(PART_BYTES)];
    let part = &part[..part.iter().rposition(|&byte| byte == b'\n').unwrap_or(0)];
    if !lines || part.is_empty() {
        return Ok(Seen { rows: None, report: None, bytes, classes: Vec::new(), max_id: 0 });
    }
    let share = part.len() as f64 / train.bytes().len() as f64;
    let part = Source::from_bytes(train.name(), part.to_vec())?;
    Ok(seen(Dataset::from_sources(part, None, settings, tokenizer)?, share))
}

/// Says what the data are.
fn tell(seen: &Seen, found: &mut Found) {
    let Some((report, share)) = &seen.report else {
        found.facts.push(format!("{} of data, read when the run starts", bytes(seen.bytes)));
        return;
    };
    let rows = |rows: usize, tokens: usize| {
        let rows = if rows == 1 { "1 row".into() } else { format!("{} rows", count(rows)) };
        format!("{rows}, {} tokens", count(tokens))
    };
    let train = rows(report.train.rows, report.train.tokens);
    found.facts.push(match share {
        1.0 => train,
        share => format!("{train} in the first {:.1} % of {}", 100.0 * share, bytes(seen.bytes)),
    });
    if let Some(valid) = &report.valid {
        found.facts.push(format!("validation: {}", rows(valid.rows, valid.tokens)));
    }
    if !seen.classes.is_empty() {
        found.facts.push(format!("{} classes: {}", seen.classes.len(), seen.classes.join(", ")));
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
fn adaptation(config: &RunConfig, model: &Model, classes: &[String], data_known: bool) -> Result<()> {
    let for_what = match config.task {
        Task::Classify if !data_known => return Ok(()),
        _ => purpose(config, classes, &model.tokenizer)?,
    };
    let hollow = Transformer::outline(model.architecture.clone(), for_what.head());
    targets::select(&hollow, &config.target_modules.0, &config.frozen_modules.0)?;
    prompts(config, model, &for_what, &hollow)
}

fn prompts(config: &RunConfig, model: &Model, for_what: &Purpose, hollow: &Transformer) -> Result<()> {
    if !config.sample_prompts.0.is_empty() && *for_what != Purpose::LanguageModel {
        return Err(Error::input("--sample-prompts: a classifier writes no text"));
    }
    for prompt in &config.sample_prompts.0 {
        let ids = model.tokenizer.encode(prompt, true)?;
        Generation::new(hollow, &ids, Sampling::default(), &[], 0)
            .map_err(|e| Error::input(format!("--sample-prompts \"{prompt}\": {e}")))?;
    }
    Ok(())
}
