//! Writing a Hugging Face model folder.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use half::{bf16, f16};
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::{classifier::Purpose, family, parameter::Parameter, pretrained::Pretrained, transformer::Transformer};
use crate::{Error, Result, files, storage};

/// Files of a model folder that are copied as they are.
const COPIED: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "added_tokens.json",
];

/// Values cast once from f32, as little-endian bytes.
///
/// # Errors
/// A type that is not a supported float.
pub fn cast(values: &[f32], dtype: Dtype) -> Result<Vec<u8>> {
    match dtype {
        Dtype::F32 => Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        Dtype::F16 => Ok(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()),
        Dtype::BF16 => Ok(values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect()),
        other => Err(Error::input(format!("{other:?} is not a type for weights; use f32, f16 or bf16"))),
    }
}

/// Most bytes of tensors in one file; the weights of larger models are spread over several, with an index.
pub const MOST_FILE_BYTES: u64 = 5_000_000_000;
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Whether a file of a model folder holds weights or lists those that do.
pub fn is_weights(name: &str) -> bool {
    name == INDEX || (name.starts_with("model") && name.ends_with(".safetensors"))
}

/// Refuses a model with an adapter that changes how its layers compute: its weights do not hold the change.
///
/// # Errors
/// The first such layer, and what to do instead.
pub(super) fn check_weights_hold_all(transformer: &Transformer) -> Result<()> {
    match transformer.parameters().into_iter().find(|parameter| parameter.adaptation.is_some()) {
        None => Ok(()),
        Some(parameter) => Err(Error::input(format!(
            "{}: this adapter changes how the layer computes, and no weight amounts to that, so it cannot be merged; use it \
             with --adapter of agoge generate, chat, classify or evaluate",
            parameter.name
        ))),
    }
}

/// Writes a model folder: the transformer's weights, cast once to `dtype`, in files of at most `most_bytes` each (or one
/// tensor), and configuration and tokenizer from `base`. Files of weights that were there before are removed. Returns
/// the bytes of all tensors.
///
/// # Errors
/// An adapter that weights cannot hold, a file that cannot be written or read, or a device that failed while reading.
pub async fn folder(base: &Pretrained, dtype: Dtype, out: &Path, most_bytes: u64) -> Result<u64> {
    let transformer = &base.transformer;
    check_weights_hold_all(transformer)?;
    storage::create_dir_all(out).map_err(|e| Error::file("create", out, e))?;
    for name in COPIED {
        let from = base.folder.join(name);
        if storage::exists(&from) {
            let bytes = storage::read(&from).map_err(|e| Error::file("read", &from, e))?;
            files::write(&out.join(name), &described(name, bytes, dtype, base))?;
        }
    }
    let (width, _) = stored_type(dtype)?;
    let size = |parameter: &Parameter| width * parameter.len() as u64;
    let mut parts: Vec<Vec<&Parameter>> = vec![Vec::new()];
    let mut filled = 0;
    for parameter in transformer.parameters() {
        if filled > 0 && filled + size(parameter) > most_bytes {
            parts.push(Vec::new());
            filled = 0;
        }
        filled += size(parameter);
        parts.last_mut().expect("there is one").push(parameter);
    }
    let count = parts.len();
    let mut places = BTreeMap::new();
    for (at, part) in parts.into_iter().enumerate() {
        let name = if count == 1 { SINGLE.into() } else { format!("model-{:05}-of-{count:05}.safetensors", at + 1) };
        places.extend(part.iter().map(|parameter| (parameter.name.clone(), name.clone())));
        write_part(part, dtype, &out.join(name)).await?;
    }
    let total: u64 = transformer.parameters().into_iter().map(size).sum();
    let mut kept: HashSet<&str> = places.values().map(String::as_str).collect();
    if count > 1 {
        let index = json!({ "metadata": { "total_size": total }, "weight_map": places });
        files::write_json(&out.join(INDEX), &index)?;
        kept.insert(INDEX);
    }
    for path in storage::list(out).map_err(|e| Error::file("read", out, e))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_weights(&name) && !kept.contains(&name[..]) {
            storage::remove_file(&path).map_err(|e| Error::file("remove", &path, e))?;
        }
    }
    Ok(total)
}

/// Bytes of a number and the name of its type in a safetensors header.
fn stored_type(dtype: Dtype) -> Result<(u64, &'static str)> {
    match dtype {
        Dtype::F32 => Ok((4, "F32")),
        Dtype::F16 => Ok((2, "F16")),
        Dtype::BF16 => Ok((2, "BF16")),
        other => Err(Error::input(format!("{other:?} is not a type for weights; use f32, f16 or bf16"))),
    }
}

/// One safetensors file, tensor by tensor: only one of them is in memory.
async fn write_part(mut part: Vec<&Parameter>, dtype: Dtype, path: &Path) -> Result<()> {
    let (width, type_name) = stored_type(dtype)?;
    part.sort_by(|a, b| a.name.cmp(&b.name));
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
    let mut at = 0;
    for parameter in &part {
        let end = at + width * parameter.len() as u64;
        let entry = json!({ "dtype": type_name, "shape": parameter.dims, "data_offsets": [at, end] });
        header.insert(parameter.name.clone(), entry);
        at = end;
    }
    let mut header = serde_json::to_vec(&header).map_err(|e| Error::Run(format!("weights cannot be written: {e}")))?;
    // Tensors begin at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = files::Pending::create(path)?;
    file.append(&(header.len() as u64).to_le_bytes())?;
    file.append(&header)?;
    for parameter in part {
        let values = parameter.value().read().await?;
        file.append(&cast(&values, dtype)?)?;
    }
    file.finish()
}

/// `config.json` with the storage type that the weights now have and the classes of a classifier; other files as they
/// are.
fn described(name: &str, bytes: Vec<u8>, dtype: Dtype, base: &Pretrained) -> Vec<u8> {
    let name_of = match dtype {
        Dtype::F16 => "float16",
        Dtype::BF16 => "bfloat16",
        _ => "float32",
    };
    let mut config: serde_json::Value = match serde_json::from_slice(&bytes) {
        Ok(config) if name == "config.json" => config,
        _ => return bytes,
    };
    for key in ["dtype", "torch_dtype"] {
        if config.get(key).is_some() {
            config[key] = name_of.into();
        }
    }
    for (key, value) in classifier_fields(base) {
        config[key] = value;
    }
    format!("{config:#}\n").into_bytes()
}

/// What `config.json` says of a classifier, as transformers' `AutoModelForSequenceClassification` reads it; nothing for a
/// language model.
pub fn classifier_fields(base: &Pretrained) -> Vec<(String, Value)> {
    let Purpose::Classify(head) = &base.purpose else { return Vec::new() };
    let class = family::find(&base.transformer.architecture.model_type).expect("a described family").class;
    let numbered = || head.classes.iter().enumerate();
    let names: Map<String, Value> = numbered().map(|(at, name)| (at.to_string(), name.clone().into())).collect();
    let numbers: Map<String, Value> = numbered().map(|(at, name)| (name.clone(), at.into())).collect();
    let mut fields = vec![
        ("architectures".to_owned(), json!([format!("{class}ForSequenceClassification")])),
        ("id2label".to_owned(), names.into()),
        ("label2id".to_owned(), numbers.into()),
        ("problem_type".to_owned(), "single_label_classification".into()),
    ];
    fields.extend(head.template.iter().map(|template| ("agoge_template".to_owned(), template.clone().into())));
    fields
}
