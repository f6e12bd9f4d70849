//! The files that describe a tokenizer, as a model folder has them or as they are given in memory.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::storage;

/// What the files say, before anything is made of it.
pub(crate) struct TokenizerFiles {
    /// What messages call `tokenizer.json`.
    pub name: String,
    /// Its bytes.
    pub json: Vec<u8>,
    /// The chat template, and what messages call the file that it stands in.
    pub template: Option<(String, String)>,
    /// End token ids of `generation_config.json` or `config.json`.
    pub eos: Vec<u32>,
    config: Value,
    special_map: Value,
}

impl TokenizerFiles {
    /// Reads those of a model folder.
    pub(crate) fn from_folder(folder: &Path) -> Result<Self> {
        let path = |name: &str| folder.join(name);
        let called = |name: &str| path(name).display().to_string();
        let Some(json) = read_optional(&path("tokenizer.json"))? else {
            return Err(Error::input(format!(
                "no tokenizer.json in {}: give a model folder in Hugging Face format that has one (a lone \
                 tokenizer.model is not read; saving the tokenizer with `transformers` writes tokenizer.json)",
                folder.display()
            )));
        };
        let object = |name: &str| match read_optional(&path(name))? {
            Some(bytes) => parse_object(&bytes, &called(name)),
            None => Ok(Value::Null),
        };
        let (config, special_map) = (object("tokenizer_config.json")?, object("special_tokens_map.json")?);
        let own_template = match read_optional(&path("chat_template.jinja"))? {
            Some(bytes) => {
                let name = called("chat_template.jinja");
                let refused = |_| Error::input(format!("{name} is not UTF-8 text: save it as UTF-8"));
                let source = String::from_utf8(bytes).map_err(refused)?;
                Some((name, source))
            }
            None => None,
        };
        let template = own_template
            .or_else(|| template_in_config(&config).map(|source| (called("tokenizer_config.json"), source)));
        let mut eos = Vec::new();
        for name in ["generation_config.json", "config.json"] {
            eos = ids_of(object(name)?.get("eos_token_id"));
            if !eos.is_empty() {
                break;
            }
        }
        Ok(Self { name: called("tokenizer.json"), json, template, eos, config, special_map })
    }

    /// Takes those that are given; `chat_template` wins over the one in `config`.
    pub(crate) fn from_memory(
        json: &[u8],
        config: Option<&[u8]>,
        chat_template: Option<&str>,
        eos: &[u32],
    ) -> Result<Self> {
        let config_name = "tokenizer_config.json";
        let config = config.map(|bytes| parse_object(bytes, config_name)).transpose()?.unwrap_or(Value::Null);
        let template = match chat_template {
            Some(source) => Some(("chat_template.jinja".to_string(), source.to_string())),
            None => template_in_config(&config).map(|source| (config_name.to_string(), source)),
        };
        let (name, json) = ("tokenizer.json".to_string(), json.to_vec());
        Ok(Self { name, json, template, eos: eos.to_vec(), config, special_map: Value::Null })
    }

    /// The text of a special token, such as `bos_token`. A config that says `"bos_token": null` means it: the map is asked
    /// only where the config says nothing.
    pub(crate) fn token_text(&self, key: &str) -> Option<String> {
        match self.config.get(key) {
            Some(value) => token_content(value),
            None => self.special_map.get(key).and_then(token_content),
        }
    }
}

/// A file's bytes, or `None` when there is no such file.
fn read_optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match storage::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Error::file("read", path, e)),
    }
}

fn parse_object(bytes: &[u8], name: &str) -> Result<Value> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|e| Error::input(format!("{name} is not valid JSON: {e}")))?;
    if value.is_object() { Ok(value) } else { Err(Error::input(format!("{name} must hold one JSON object"))) }
}

/// A special token is written as a string or as an object with `content`.
fn token_content(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_string)
}

/// A number or a list of numbers.
fn ids_of(value: Option<&Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// The template of `tokenizer_config.json`: a string, or the one named "default" of a list.
fn template_in_config(config: &Value) -> Option<String> {
    match config.get("chat_template")? {
        Value::String(source) => Some(source.clone()),
        Value::Array(list) => list
            .iter()
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|entry| entry.get("template")?.as_str())
            .map(str::to_string),
        _ => None,
    }
}
