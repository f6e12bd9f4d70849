//! Writing a model as one GGUF file, the format of llama.cpp and everything built on it.
//!
//! In reading order: [`names`] says where each tensor goes and what is done to it; [`settings`] tells the sizes of the
//! architecture; [`vocabulary`] the tokenizer; [`encode`] the storage types; [`container`] is the file itself.

pub mod container;
pub mod encode;
mod error;
pub mod names;
mod rotary;
pub mod settings;
pub mod vocabulary;

use std::path::Path;

use serde_json::Value;

use self::{
    container::{Info, Writer},
    encode::Encoding,
    error::config_error,
    names::Placed,
};
use super::{family, save::check_weights_hold_all, transformer::Transformer, weights::Weights};
use crate::Result;

/// Where the tensors come from.
#[derive(Debug)]
pub enum Source<'a> {
    /// A loaded model, perhaps with adapters.
    Model(&'a Transformer),
    /// The files of a checkpoint; no device is needed.
    File(&'a Weights),
}

impl Source<'_> {
    /// Names and shapes of all tensors.
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Model(model) => model.parameters().into_iter().map(|p| (p.name.clone(), p.dims.clone())).collect(),
            Self::File(weights) => {
                weights.names().map(|name| (name.to_owned(), weights.dims(name).unwrap_or_default().to_vec())).collect()
            }
        }
    }

    async fn read(&self, name: &str) -> Result<Vec<f32>> {
        match self {
            Self::File(weights) => weights.floats(name),
            Self::Model(model) => {
                let parameter = model.parameters().into_iter().find(|parameter| parameter.name == name);
                parameter.expect("a listed parameter").value().read().await
            }
        }
    }
}

/// What was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Number of tensors.
    pub tensors: usize,
    /// Bytes of the file.
    pub bytes: u64,
    /// Names of matrices whose rows are no multiple of the blocks of the asked type; they are stored as f16.
    pub not_quantized: Vec<String>,
    /// What the reader of the file should know, in whole sentences.
    pub notes: Vec<String>,
}

/// Writes `path`: the tensors of `source` as `encoding`, described by `config` (`config.json`), with the tokenizer of
/// `folder`.
///
/// # Errors
/// A family, tensor or tokenizer that the format has no place for, or a file that cannot be written.
pub async fn write(
    source: Source<'_>,
    config: &Value,
    folder: &Path,
    name: &str,
    encoding: Encoding,
    path: &Path,
) -> Result<Report> {
    if let Source::Model(transformer) = &source {
        check_weights_hold_all(transformer)?;
    }
    let architecture = family::describe(config)?;
    let family = family::find(&architecture.model_type).expect("a described family");
    let Some(gguf) = &family.gguf else {
        return Err(config_error(format!(
            "model_type \"{}\" cannot be written as GGUF; these can: {}",
            family.model_type,
            family::in_gguf().join(", ")
        )));
    };
    let (mut metadata, notes) = settings::describe(gguf, &architecture, name, encoding)?;
    let mut placed = Vec::new();
    let mut rows = 0;
    for (name, dims) in source.tensors() {
        if let Some(place) = names::place(family, gguf, &architecture, &name)? {
            if place.name == names::EMBEDDING {
                rows = dims.first().copied().unwrap_or(0);
            }
            placed.push((name, dims, place));
        }
    }
    metadata.extend(vocabulary::describe(folder, config, rows)?);
    let mut not_quantized = Vec::new();
    let mut infos = Vec::new();
    for (_, dims, place) in &placed {
        let dims = if place.transposed { dims.iter().rev().copied().collect() } else { dims.clone() };
        // Vectors stay in f32, as the readers of the format expect it.
        let wanted = if dims.len() < 2 || place.precise { Encoding::F32 } else { encoding };
        let fits = dims.last().is_some_and(|width| width.is_multiple_of(wanted.block()));
        let stored = if fits { wanted } else { Encoding::F16 };
        if !fits {
            not_quantized.push(place.name.clone());
        }
        infos.push(Info { name: place.name.clone(), dims, encoding: stored });
    }
    let extra = rotary::factors(gguf, &architecture);
    infos.extend(extra.as_ref().map(|factors| Info {
        name: names::ROTARY.into(),
        dims: vec![factors.len()],
        encoding: Encoding::F32,
    }));
    let mut writer = Writer::create(path, &metadata, &infos)?;
    for ((name, dims, place), info) in placed.iter().zip(&infos) {
        writer.tensor(&encode::encode(&prepared(source.read(name).await?, dims, place), info.encoding))?;
    }
    if let Some(factors) = extra {
        writer.tensor(&encode::encode(&factors, Encoding::F32))?;
    }
    let bytes = writer.finish()?;
    Ok(Report { tensors: infos.len(), bytes, not_quantized, notes })
}

/// Values as the format wants them.
fn prepared(mut values: Vec<f32>, dims: &[usize], place: &Placed) -> Vec<f32> {
    if place.transposed {
        let columns = dims[dims.len() - 1];
        values = (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect();
    }
    if let Some(heads) = place.rotary_heads {
        values = rotary::interleaved(&values, dims, heads);
    }
    if let Some(heads) = place.split_heads {
        values = rotary::queries_first(&values, dims, heads);
    }
    if (place.added, place.factor) != (0.0, 1.0) {
        values.iter_mut().for_each(|value| *value = (*value + place.added) * place.factor);
    }
    values
}
