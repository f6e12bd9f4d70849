//! The model and the data inside this program, and the settings with which it shows itself.
//!
//! Wherever a model folder or data are named, the word `agoge-demo` means these, so that a run's `config.json` says what
//! it worked on and every later command finds it again. A folder of that name is written `./agoge-demo`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{
    Error, Result,
    config::{List, Prompts, RunConfig},
    files, storage,
};

/// What model and data are called.
pub const NAME: &str = "agoge-demo";

/// `config.json` of the model.
pub const CONFIG: &str = include_str!("../assets/model/config.json");
/// `model.safetensors`.
pub const WEIGHTS: &[u8] = include_bytes!("../assets/model/model.safetensors");
/// `tokenizer.json`.
pub const TOKENIZER: &str = include_str!("../assets/model/tokenizer.json");
/// `tokenizer_config.json`.
pub const TOKENIZER_CONFIG: &str = include_str!("../assets/model/tokenizer_config.json");
/// Rows to train on.
pub const TRAIN: &str = include_str!("../assets/demo/train.jsonl");
/// Rows to judge.
pub const VALID: &str = include_str!("../assets/demo/valid.jsonl");
const PROMPTS: &str = include_str!("../assets/demo/prompts.jsonl");

/// Longest answer that is shown, in tokens.
const ANSWER_TOKENS: usize = 120;

/// A question that no row has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Example {
    /// What is asked.
    pub prompt: String,
    /// What an answer in the taught manner would be.
    pub completion: String,
}

/// The questions that are asked before, during and after training.
pub fn examples() -> Vec<Example> {
    PROMPTS.lines().map(|line| serde_json::from_str(line).expect("a line of the embedded prompts is JSON")).collect()
}

/// Settings with which the model inside this program learns to answer like a Spartan in a minute.
pub fn config() -> RunConfig {
    RunConfig {
        model: NAME.into(),
        data: NAME.into(),
        target_modules: List(vec!["all-linear".into()]),
        steps: 200,
        batch_size: 16,
        learning_rate: 1e-2,
        warmup_steps: 10,
        eval_steps: 100,
        save_steps: 0,
        logging_steps: 5,
        sample_prompts: Prompts(examples().into_iter().map(|example| example.prompt).collect()),
        sample_tokens: ANSWER_TOKENS,
        ..RunConfig::default()
    }
}

/// Whether a path means the model or the data inside this program.
pub fn is_embedded(path: &Path) -> bool {
    path.as_os_str() == NAME
}

/// The folder or the model of the hub that is `wanted`; the model inside this program is unpacked first.
///
/// # Errors
/// As [`Wanted::locate`](crate::hub::Wanted::locate); a revision of the embedded model; no place to unpack it.
#[cfg(not(target_arch = "wasm32"))]
pub fn locate(wanted: &crate::hub::Wanted) -> Result<crate::hub::Located> {
    if !is_embedded(wanted.model) {
        return wanted.locate();
    }
    if !wanted.revision.is_empty() {
        return Err(Error::input(format!(
            "--revision {}: the model inside this program has no revisions; leave it out",
            wanted.revision
        )));
    }
    Ok(crate::hub::Located { folder: model()?, origin: None })
}

/// The folder of the model inside this program, which is unpacked first.
///
/// # Errors
/// There is no place to unpack it.
pub fn model() -> Result<PathBuf> {
    unpacked().map(|place| place.join(NAME))
}

/// Where data are; those inside this program are unpacked first.
///
/// # Errors
/// There is no place to unpack them.
pub fn data(path: &Path) -> Result<PathBuf> {
    if is_embedded(path) { Ok(unpacked()?.join("data")) } else { Ok(path.to_path_buf()) }
}

/// Writes the model to the folder `model` and the data to the folder `data`.
///
/// # Errors
/// A folder that cannot be written.
pub fn write(model: &Path, data: &Path) -> Result<()> {
    for folder in [model, data] {
        storage::create_dir_all(folder).map_err(|e| Error::file("create", folder, e))?;
    }
    let parts: [(&Path, &str, &[u8]); 6] = [
        (model, "config.json", CONFIG.as_bytes()),
        (model, "model.safetensors", WEIGHTS),
        (model, "tokenizer.json", TOKENIZER.as_bytes()),
        (model, "tokenizer_config.json", TOKENIZER_CONFIG.as_bytes()),
        (data, "train.jsonl", TRAIN.as_bytes()),
        (data, "valid.jsonl", VALID.as_bytes()),
    ];
    for (folder, name, bytes) in parts {
        let path = folder.join(name);
        // Other processes may be reading it: what is right already stays.
        if !storage::read(&path).is_ok_and(|there| there == bytes) {
            files::write(&path, bytes)?;
        }
    }
    Ok(())
}

/// A temporary folder with the folders `agoge-demo` and `data`, the same one for every process of this version.
fn unpacked() -> Result<PathBuf> {
    let mut hasher = blake3::Hasher::new();
    for part in [CONFIG.as_bytes(), WEIGHTS, TOKENIZER.as_bytes(), TRAIN.as_bytes(), VALID.as_bytes()] {
        hasher.update(part);
    }
    let place = storage::temporary().join(format!("agoge-{}", &hasher.finalize().to_hex()[..16]));
    if write(&place.join(NAME), &place.join("data")).is_ok() {
        return Ok(place);
    }
    // Another user's files are in the way.
    let own = storage::temporary_folder();
    let own = own.map_err(|e| Error::file("create a folder in", &storage::temporary(), e))?;
    write(&own.join(NAME), &own.join("data"))?;
    Ok(own)
}

impl RunConfig {
    /// The command that starts the same run, for a POSIX shell: `agoge train`, or with `demo` (model and data are then
    /// those inside this program) `agoge demo`, and whatever differs from its defaults.
    pub fn command_line(&self, demo: bool) -> String {
        if !demo {
            return format!("agoge train{}", self.flags(&Self::default()));
        }
        let base = config();
        let unread = Self {
            model: base.model.clone(),
            revision: base.revision.clone(),
            data: base.data.clone(),
            valid_data: base.valid_data.clone(),
            ..self.clone()
        };
        format!("agoge demo{}", unread.flags(&base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_in_bounds_and_ask_the_examples() {
        let config = config();
        config.check().expect("in bounds");
        assert_eq!(config.sample_prompts.0.len(), examples().len());
    }

    #[test]
    fn commands_name_what_differs() {
        let plain = RunConfig { model: "m".into(), data: "d e".into(), steps: 7, ..RunConfig::default() };
        assert_eq!(plain.command_line(false), "agoge train --model m --data 'd e' --steps 7");
        let demo = RunConfig { model: "ignored".into(), steps: 7, out: "runs/1".into(), ..config() };
        assert_eq!(demo.command_line(true), "agoge demo --out runs/1 --steps 7");
        assert_eq!(config().command_line(true), "agoge demo");
    }

    #[test]
    fn model_and_data_are_unpacked_whole() {
        assert!(is_embedded(Path::new("agoge-demo")) && !is_embedded(Path::new("./agoge-demo")));
        let found = data(Path::new(NAME)).expect("unpacked");
        assert_eq!(std::fs::read_to_string(found.join("valid.jsonl")).expect("rows"), VALID);
        assert_eq!(data(Path::new("other")).expect("a path"), Path::new("other"));
        let place = tempfile::tempdir().expect("a folder");
        let valid = place.path().join("data/valid.jsonl");
        for _ in 0..2 {
            write(&place.path().join("model"), &place.path().join("data")).expect("written");
            assert_eq!(std::fs::read_to_string(&valid).expect("rows"), VALID);
            std::fs::write(&valid, "damaged").expect("a file");
        }
        assert_eq!(std::fs::read(place.path().join("model/model.safetensors")).expect("weights"), WEIGHTS);
    }
}
