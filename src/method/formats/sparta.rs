//! The layout of the SpaRTA authors' package `peft_sparta`: `sparse_deltas.safetensors` and the model's `config.json`.
//!
//! For every parameter of the model, trained or not, there are `indices.NAME` `[N, dimensions]` (one place a row) and
//! `deltas.NAME` `[N]`. The package's loader asks for each of them by name, so the empty ones are there too.

use std::{collections::BTreeMap, path::Path};

use safetensors::Dtype;
use serde_json::Value;

use super::common;
use crate::{
    Error, Result, files,
    method::{
        adapter::{Adapter, BaseModel, Export, Files, Format, Info, dtype_name},
        change::{Change, TensorChange},
        sparta,
    },
    model::{
        Transformer,
        save::{cast, classifier_fields},
        weights::Weights,
    },
    storage,
};

const VALUES: &str = "sparse_deltas.safetensors";
const CONFIG: &str = "config.json";
/// Key of `config.json` that names the base model.
const BASE: &str = "sparta_pretrained_model";
/// The classification head of the package's models. Its deltas count from a start of its own.
const HEAD: &str = "score.weight";
/// Where the start of the head is, if the head was not one of the base model.
const HEAD_START: &str = "head_init.pt";
/// The same as newer versions of the package write it, with this tensor.
const HEAD_START_SAFE: (&str, &str) = ("head_init.safetensors", "head");

pub(super) const FORMAT: Format = Format {
    name: sparta::METHOD.name,
    about: "the SpaRTA authors' package: sparse_deltas.safetensors and config.json",
    marker: VALUES,
    open,
    changes,
    write,
};

fn open(folder: &Path) -> Result<(Info, Weights)> {
    let config = common::read_json(&folder.join(CONFIG))?;
    let path = folder.join(VALUES);
    let weights = common::read_weights(&path)?;
    let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
    if let Some(name) = weights.names().find(|name| !name.starts_with("indices.") && !name.starts_with("deltas.")) {
        return Err(Error::input(format!(
            "{}: the tensor {name} has no place in a SpaRTA adapter, which has only indices and deltas",
            path.display()
        )));
    }
    let trained = weights.names().filter(|name| name.starts_with("deltas."));
    let trained = trained.filter_map(|name| weights.dims(name)?.first()).sum();
    let dtype = weights.names().find(|name| name.starts_with("deltas.")).and_then(|name| weights.dtype(name));
    let base =
        BaseModel { name: text(BASE), model_type: text("model_type"), parameters: 0, fingerprint: String::new() };
    let classify =
        (config["problem_type"] == "single_label_classification").then(|| common::classes(&config)).flatten();
    let dtype = dtype_name(dtype.unwrap_or(Dtype::F32)).to_owned();
    let mut info = common::foreign(sparta::METHOD.name, base, dtype, trained, config);
    info.classify = classify;
    Ok((info, weights))
}

fn changes(adapter: &Adapter, transformer: &Transformer) -> Result<Vec<TensorChange>> {
    let parameters = transformer.parameters();
    let mut changes = Vec::new();
    let mut unknown = Vec::new();
    for name in adapter.weights.names().filter_map(|name| name.strip_prefix("deltas.")) {
        let values = adapter.weights.floats(&format!("deltas.{name}")).map_err(|e| adapter.error(e))?;
        if values.is_empty() {
            continue;
        }
        if name == HEAD && [HEAD_START, HEAD_START_SAFE.0].iter().any(|file| storage::exists(adapter.folder.join(file)))
        {
            changes.push(head(adapter, transformer, values)?);
            continue;
        }
        let Some(parameter) = parameters.iter().find(|parameter| parameter.name == name) else {
            unknown.push(name.to_owned());
            continue;
        };
        let stored = format!("indices.{name}");
        let places = common::integers(&adapter.weights, &stored).map_err(|e| adapter.error(e))?;
        let dims = &parameter.dims;
        if adapter.weights.dims(&stored) != Some(&[values.len(), dims.len()][..]) {
            return Err(adapter.error(format!(
                "{stored} has shape {:?} but {} deltas of a tensor of shape {dims:?} need {:?}",
                adapter.weights.dims(&stored).unwrap_or_default(),
                values.len(),
                [values.len(), dims.len()]
            )));
        }
        let flat = |place: &[i64]| {
            let inside = place.iter().zip(dims).all(|(&at, &rows)| (0..rows as i64).contains(&at));
            inside.then(|| place.iter().zip(dims).fold(0, |flat, (&at, &rows)| flat * rows as i64 + at))
        };
        let pairs: Option<Vec<_>> =
            places.chunks(dims.len()).zip(values).map(|(place, value)| Some((flat(place)?, value))).collect();
        let Some(pairs) = pairs else {
            return Err(adapter.error(format!("{stored} names places outside of the shape {dims:?} of the model")));
        };
        let change = common::sorted(name, pairs, parameter.len()).map_err(|e| adapter.error(e))?;
        changes.push(TensorChange { name: name.to_owned(), shape: dims.clone(), change });
    }
    if !unknown.is_empty() {
        return Err(adapter.error(format!("the model has no parameter {}", unknown.join(", "))));
    }
    Ok(changes)
}

/// The whole head: its start and its deltas, which the package trains all of.
fn head(adapter: &Adapter, transformer: &Transformer, mut values: Vec<f32>) -> Result<TensorChange> {
    let (safe, tensor) = HEAD_START_SAFE;
    let path = adapter.folder.join(safe);
    let (file, start) = if storage::exists(&path) {
        (safe, common::read_weights(&path)?.floats(tensor).ok())
    } else {
        let path = adapter.folder.join(HEAD_START);
        let bytes = storage::read(&path).map_err(|e| Error::file("read", &path, e))?;
        (HEAD_START, super::torch::tensor(&bytes))
    };
    let width = transformer.architecture.hidden_size;
    let start = start.filter(|start| start.len() == values.len()).ok_or_else(|| {
        adapter.error(format!("{file}: not a saved tensor of {} numbers, as many as the head has", values.len()))
    })?;
    if !values.len().is_multiple_of(width) {
        return Err(adapter.error(format!("{HEAD} has {} numbers, no multiple of the width {width}", values.len())));
    }
    values.iter_mut().zip(start).for_each(|(value, start)| *value += start);
    let shape = vec![values.len() / width, width];
    Ok(TensorChange { name: HEAD.into(), shape, change: Change::Replace(values) })
}

fn write(export: &Export) -> Result<Files> {
    let mut tensors = Vec::new();
    let mut start = None;
    for parameter in export.base.transformer.parameters() {
        let everywhere: Vec<u32>;
        let (indices, values) = match export.changes.iter().find(|tensor| tensor.name == parameter.name) {
            None => (&[][..], &[][..]),
            Some(TensorChange { change: Change::Sparse { indices, values }, .. }) => (&indices[..], &values[..]),
            // The package trains the whole head as deltas on a start; what the start was, the adapter does not know.
            Some(TensorChange { name, shape, change: Change::Replace(values) }) if name == HEAD => {
                let [classes, width] = shape[..] else {
                    return Err(export.adapter.error(format!("{HEAD} has shape {shape:?}, not that of a head")));
                };
                start = Some(super::torch::matrix(&vec![0.0; values.len()], [classes, width]));
                everywhere = (0..values.len() as u32).collect();
                (&everywhere[..], &values[..])
            }
            Some(TensorChange { name, change, .. }) => {
                let kind = match change {
                    Change::LowRank { .. } => "low-rank".into(),
                    Change::Hook(change) => format!("that of {}", change.method),
                    _ => "a whole new tensor".to_owned(),
                };
                return Err(export.adapter.error(format!(
                    "the change of {name} is {kind}; the SpaRTA layout holds sparse changes only, export it as agoge \
                     or merge it into the model"
                )));
            }
        };
        let dims = &parameter.dims;
        let mut places = Vec::with_capacity(4 * indices.len() * dims.len());
        for &index in indices {
            let mut step = parameter.len();
            let mut rest = index as usize;
            for rows in dims {
                step /= rows;
                places.extend(((rest / step) as i32).to_le_bytes());
                rest %= step;
            }
        }
        let name = &parameter.name;
        tensors.push((format!("deltas.{name}"), Dtype::F32, vec![values.len()], cast(values, Dtype::F32)?));
        tensors.push((format!("indices.{name}"), Dtype::I32, vec![indices.len(), dims.len()], places));
    }
    let views = tensors.iter().map(|(name, dtype, dims, bytes)| (name.clone(), *dtype, dims.clone(), &bytes[..]));
    let values = files::safetensors(views, &[])?;
    let mut config: BTreeMap<String, Value> = match &export.base.config {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        _ => return Err(Error::Run(format!("{CONFIG} of the base model is not an object"))),
    };
    config.insert(BASE.into(), export.base_name.clone().into());
    config.extend(classifier_fields(export.base));
    let config = serde_json::to_string_pretty(&config).map_err(|e| Error::Run(format!("{CONFIG}: {e}")))?;
    let mut files = vec![(VALUES, values), (CONFIG, format!("{config}\n").into_bytes())];
    files.extend(start.map(|start| (HEAD_START, start)));
    Ok(files)
}
