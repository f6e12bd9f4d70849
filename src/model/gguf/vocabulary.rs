//! The tokenizer as GGUF metadata: byte-level BPE ("gpt2") and SentencePiece-style BPE ("llama").
//!
//! The second kind joins pieces by a score where `tokenizer.json` has an ordered list of merges; the score of a piece is
//! minus the place of the first merge that makes it, which joins in the same order.

use std::{collections::HashMap, path::Path};

use serde_json::Value as Json;

use super::container::{Metadata, Value};
use crate::{Error, Result, model::fields::Fields, storage};

/// Kinds of tokens, with ggml's numbers.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;
/// Score of a piece that no merge makes: it is joined after all others.
const LAST: f32 = -1e9;

/// Patterns by which byte-level tokenizers split a text before merging, and llama.cpp's name of each.
const SPLITS: &[(&str, &str)] = &[
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "llama-bpe",
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "qwen2",
    ),
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "tekken",
    ),
];

/// The tokenizer of a folder, for a table of `rows` embeddings.
struct Vocabulary<'a> {
    json: &'a Json,
    /// Text and kind of every id.
    tokens: Vec<(String, i32)>,
    ids: HashMap<String, usize>,
}

/// Metadata `tokenizer.*` of a model folder whose embedding table has `rows` rows.
///
/// # Errors
/// A missing or unreadable `tokenizer.json`, or a tokenizer that the format has no place for.
pub fn describe(folder: &Path, config: &Json, rows: usize) -> Result<Metadata> {
    let path = folder.join("tokenizer.json");
    let fail = |what: String| Error::input(format!("{}: {what}", path.display()));
    let json = read(&path)?.ok_or_else(|| fail("it is missing, and a GGUF file holds the tokenizer too".into()))?;
    let settings = read(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
    let vocabulary = Vocabulary::new(&json, rows).map_err(fail)?;
    let mut list = vocabulary.model().map_err(fail)?;
    let texts = vocabulary.tokens.iter().map(|(text, _)| text.clone()).collect();
    list.push(("tokenizer.ggml.tokens".into(), Value::Texts(texts)));
    let kinds = vocabulary.tokens.iter().map(|(_, kind)| *kind).collect();
    list.push(("tokenizer.ggml.token_type".into(), Value::Integers(kinds)));
    list.extend(vocabulary.special(&settings, config));
    if let Some(template) = template(folder, &settings)? {
        list.push(("tokenizer.chat_template".into(), Value::Text(template)));
    }
    Ok(list)
}

fn read(path: &Path) -> Result<Option<Json>> {
    if !storage::exists(path) {
        return Ok(None);
    }
    let bytes = storage::read(path).map_err(|e| Error::file("read", path, e))?;
    let json = serde_json::from_slice(&bytes);
    json.map(Some).map_err(|e| Error::input(format!("{}: not valid JSON: {e}", path.display())))
}

/// `chat_template.jinja`, else the template of `tokenizer_config.json` (the default one of several).
fn template(folder: &Path, settings: &Json) -> Result<Option<String>> {
    let path = folder.join("chat_template.jinja");
    if storage::exists(&path) {
        return storage::read_to_string(&path).map(Some).map_err(|e| Error::file("read", &path, e));
    }
    let template = &settings["chat_template"];
    let named = template.as_array().into_iter().flatten().find(|one| one["name"] == "default");
    Ok(template.as_str().or(named.and_then(|one| one["template"].as_str())).map(str::to_owned))
}

impl<'a> Vocabulary<'a> {
    fn new(json: &'a Json, rows: usize) -> Result<Self, String> {
        let model = &json["model"];
        let kind = model["type"].as_str().unwrap_or("of no named type");
        let Some(pieces) = model["vocab"].as_object().filter(|_| kind == "BPE") else {
            return Err(format!("a tokenizer of the type {kind} cannot be written as GGUF; BPE can"));
        };
        let unknown = model["unk_token"].as_str();
        let mut tokens = vec![(String::new(), UNUSED); rows];
        let mut put = |id: Option<u64>, text: &str, kind: i32| {
            let id = id.and_then(|id| usize::try_from(id).ok());
            match id.and_then(|id| tokens.get_mut(id)) {
                Some(token) => *token = (text.to_owned(), kind),
                None => return Err(format!("the token {text:?} has no row in the model's table of {rows} embeddings")),
            }
            Ok(())
        };
        for (text, id) in pieces {
            let kind = match text {
                _ if unknown == Some(text) => UNKNOWN,
                _ if model["byte_fallback"] == true && is_byte(text) => BYTE,
                _ => NORMAL,
            };
            put(id.as_u64(), text, kind)?;
        }
        for token in json["added_tokens"].as_array().into_iter().flatten() {
            let Some(text) = token["content"].as_str() else { continue };
            if unknown != Some(text) {
                put(token["id"].as_u64(), text, if token["special"] == true { CONTROL } else { USER })?;
            }
        }
        for (id, (text, kind)) in tokens.iter_mut().enumerate() {
            // Rows without a token; the readers want a text that nothing else has.
            if *kind == UNUSED {
                *text = format!("[PAD{id}]");
            }
        }
        let ids = tokens.iter().enumerate().map(|(id, (text, _))| (text.clone(), id)).collect();
        Ok(Self { json, tokens, ids })
    }

    /// What kind of tokenizer it is, and how it joins pieces.
    fn model(&self) -> Result<Metadata, String> {
        let byte_level = steps(&self.json["pre_tokenizer"]).iter().any(|step| step["type"] == "ByteLevel");
        let merges = self.merges()?;
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        if byte_level {
            let merges = merges.into_iter().map(|(left, right)| format!("{left} {right}")).collect();
            return Ok(vec![
                (key("model"), Value::Text("gpt2".into())),
                (key("pre"), Value::Text(self.split()?.into())),
                (key("merges"), Value::Texts(merges)),
            ]);
        }
        let spaces = self.spaces()?;
        let mut ranks: HashMap<String, usize> = HashMap::new();
        for (rank, (left, right)) in merges.iter().enumerate() {
            ranks.entry(format!("{left}{right}")).or_insert(rank);
        }
        let score = |(text, kind): &(String, i32)| match ranks.get(text) {
            Some(rank) => -(*rank as f32),
            // Single characters and bytes are where joining starts.
            None if *kind != NORMAL || text.chars().nth(1).is_none() => 0.0,
            None => LAST,
        };
        Ok(vec![
            (key("model"), Value::Text("llama".into())),
            (key("pre"), Value::Text("default".into())),
            (key("scores"), Value::Floats(self.tokens.iter().map(score).collect())),
            (key("add_space_prefix"), Value::Bool(spaces)),
        ])
    }

    /// Pairs in the order in which they are joined; older files have them as one text with a space between.
    fn merges(&self) -> Result<Vec<(&'a str, &'a str)>, String> {
        let list = self.json["model"]["merges"].as_array().map_or(&[][..], Vec::as_slice);
        let pair = |merge: &'a Json| match merge {
            Json::String(text) => text.split_once(' '),
            merge => Some((merge[0].as_str()?, merge[1].as_str()?)),
        };
        list.iter().map(|merge| pair(merge).ok_or_else(|| format!("{merge} is not a merge of two pieces"))).collect()
    }

    /// llama.cpp's name of the way in which a byte-level tokenizer splits a text.
    fn split(&self) -> Result<&'static str, String> {
        let steps = steps(&self.json["pre_tokenizer"]);
        let digits = steps.iter().any(|step| step["type"] == "Digits" && step["individual_digits"] == true);
        let patterns: Vec<&str> = steps
            .iter()
            .filter(|step| step["type"] == "Split")
            .map(|step| step["pattern"]["Regex"].as_str().unwrap_or("a fixed text"))
            .collect();
        let by_bytes = steps.iter().any(|step| step["type"] == "ByteLevel" && step["use_regex"] != false);
        match (&patterns[..], digits, by_bytes) {
            ([], false, true) => Ok("gpt-2"),
            ([], true, true) => Ok("smollm"),
            ([pattern], false, false) => SPLITS
                .iter()
                .find(|(known, _)| known == pattern)
                .map(|(_, name)| *name)
                .ok_or_else(|| format!("llama.cpp's name for splitting text by {pattern} is not known")),
            _ => Err("the way in which this tokenizer splits a text has no known name in llama.cpp".into()),
        }
    }

    /// Whether a space is put before a text; refuses tokenizers that do not write spaces as `▁`.
    fn spaces(&self) -> Result<bool, String> {
        let (before, within) = (steps(&self.json["normalizer"]), steps(&self.json["pre_tokenizer"]));
        if let Some(step) = within.iter().find(|step| step["type"] == "Metaspace") {
            let scheme = step["prepend_scheme"].as_str();
            return Ok(scheme.map_or(step["add_prefix_space"] != false, |scheme| scheme != "never"));
        }
        if !before.iter().any(|step| step["type"] == "Replace" && step["content"] == "▁") {
            return Err(
                "a BPE tokenizer that works neither on bytes nor with ▁ for spaces cannot be written as GGUF".into()
            );
        }
        Ok(before.iter().any(|step| step["type"] == "Prepend"))
    }

    /// Ids of special tokens, and which of them go around a text.
    fn special(&self, settings: &Json, config: &Json) -> Metadata {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let mut list = Metadata::new();
        for (name, told) in
            [("bos", "bos_token"), ("eos", "eos_token"), ("unknown", "unk_token"), ("padding", "pad_token")]
        {
            let text = settings[told].as_str().or(settings[told]["content"].as_str());
            let by_text = text.and_then(|text| self.ids.get(text)).map(|id| *id as u32);
            let by_number = Fields::new(config).token(&format!("{told}_id"));
            let unknown = (name == "unknown")
                .then(|| self.tokens.iter().position(|(_, kind)| *kind == UNKNOWN).map(|id| id as u32))
                .flatten();
            let id = by_text.or(by_number).or(unknown).filter(|id| (*id as usize) < self.tokens.len());
            list.extend(id.map(|id| (key(&format!("{name}_token_id")), Value::U32(id))));
        }
        // What the post-processor puts around a text.
        let around = processors(&self.json["post_processor"])
            .into_iter()
            .filter(|step| step["type"] == "TemplateProcessing")
            .find_map(|step| step["single"].as_array());
        let is_token = |part: Option<&Json>| part.is_some_and(|part| part.get("SpecialToken").is_some());
        let (first, last) = around.map_or((None, None), |parts| (parts.first(), parts.last()));
        list.push((key("add_bos_token"), Value::Bool(is_token(first))));
        list.push((key("add_eos_token"), Value::Bool(is_token(last))));
        list
    }
}

/// The steps of a normalizer or pre-tokenizer, alone or in a sequence.
fn steps(json: &Json) -> Vec<&Json> {
    let inner = json["normalizers"].as_array().or(json["pretokenizers"].as_array());
    inner.map_or_else(|| vec![json], |inner| inner.iter().collect())
}

/// The post-processors, alone or in a sequence.
fn processors(json: &Json) -> Vec<&Json> {
    json["processors"].as_array().map_or_else(|| vec![json], |inner| inner.iter().collect())
}

/// `<0x0A>` and its like.
fn is_byte(text: &str) -> bool {
    text.strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'))
        .is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}
