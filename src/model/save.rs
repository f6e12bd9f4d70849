//! Writing a Hugging Face model folder.

use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype;

use super::{parameter::Parameter, transformer::Transformer};
use crate::{Error, Result, device, files};

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

/// Whether a matrix is stored `[inputs, outputs]`. No supported family does so yet.
pub fn transposed(parameter: &Parameter) -> bool {
    let _ = parameter;
    false
}

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

/// The weights of `transformer` as the bytes of one safetensors file, cast once to `dtype`.
///
/// # Errors
/// The device failed while reading.
pub async fn safetensors(transformer: &Transformer, dtype: Dtype) -> Result<Vec<u8>> {
    let mut tensors = Vec::new();
    for parameter in transformer.parameters() {
        let values = device::read(parameter.value().clone()).await?;
        tensors.push((parameter.name.clone(), parameter.dims.clone(), cast(&values, dtype)?));
    }
    files::safetensors(
        tensors.iter().map(|(name, dims, bytes)| (name.clone(), dtype, dims.clone(), &bytes[..])),
        &[("format", "pt")],
    )
}

/// Writes a model folder: the transformer's weights, and configuration and tokenizer from `base`.
///
/// # Errors
/// A file that cannot be written or read.
pub async fn folder(transformer: &Transformer, dtype: Dtype, base: &Path, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).map_err(|e| Error::file("create", out, e))?;
    for name in COPIED {
        let from = base.join(name);
        if from.exists() {
            let bytes = std::fs::read(&from).map_err(|e| Error::file("read", &from, e))?;
            files::write(&out.join(name), &with_dtype(name, bytes, dtype))?;
        }
    }
    files::write(&out.join("model.safetensors"), &safetensors(transformer, dtype).await?)
}

/// `config.json` with the storage type that the weights now have; other files as they are.
fn with_dtype(name: &str, bytes: Vec<u8>, dtype: Dtype) -> Vec<u8> {
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
    format!("{config:#}\n").into_bytes()
}
