//! agoge's own layout: `adapter.json` and `adapter.safetensors`.

use std::path::Path;

use safetensors::Dtype;
use serde::Deserialize;
use serde_json::{Value, json};

use super::common;
use crate::{
    Error, Result,
    method::{
        adapter::{
            Adapter, BaseModel, Export, Files, Format, INFO, Info, NAME, TensorShape, VALUES, VERSION, check_listed,
            dtype_name, folder_files,
        },
        change::{Change, TensorChange},
        find, full, lora, sparta,
    },
    model::{Transformer, save::cast, weights::Weights},
    storage,
};

pub(super) const FORMAT: Format = Format {
    name: "agoge",
    about: "agoge's own: adapter.json and adapter.safetensors, with explicit indices",
    marker: INFO,
    open,
    changes,
    write,
};

fn open(folder: &Path) -> Result<(Info, Weights)> {
    let path = folder.join(INFO);
    let text = storage::read_to_string(&path).map_err(|e| Error::file("read", &path, e))?;
    let info: Info = serde_json::from_str(&text)
        .map_err(|e| Error::input(format!("{}: not a valid adapter description: {e}", path.display())))?;
    if info.format != NAME || info.version > VERSION {
        return Err(Error::input(format!(
            "{}: written in version {} of the format \"{}\", this program reads {NAME} up to {VERSION}",
            path.display(),
            info.version,
            info.format
        )));
    }
    Ok((info, common::read_weights(&folder.join(VALUES))?))
}

/// What the settings of every method have.
#[derive(Deserialize)]
struct Listed {
    tensors: Vec<TensorShape>,
}

fn changes(adapter: &Adapter, transformer: &Transformer) -> Result<Vec<TensorChange>> {
    // Nothing is read, and no mask drawn, for a tensor that the model does not have. Settings that do not say which
    // tensors they mean are the method's to refuse.
    if let Ok(Listed { tensors }) = adapter.settings() {
        let listed = tensors.iter().chain(&adapter.info.dense);
        check_listed(adapter, listed.map(|tensor| (&tensor.name[..], &tensor.shape[..])), transformer)?;
    }
    let mut changes = (find(&adapter.info.method).map_err(|e| adapter.error(e))?.changes)(adapter)?;
    for TensorShape { name, shape } in &adapter.info.dense {
        let values = adapter.weights.floats(name).map_err(|e| adapter.error(e))?;
        changes.push(TensorChange { name: name.clone(), shape: shape.clone(), change: Change::Replace(values) });
    }
    Ok(changes)
}

/// Vectors of the values' file: name, type, length, bytes.
type Vectors = Vec<(String, Dtype, usize, Vec<u8>)>;

fn floats(vectors: &mut Vectors, name: String, values: &[f32]) -> Result<()> {
    vectors.push((name, Dtype::F32, values.len(), cast(values, Dtype::F32)?));
    Ok(())
}

fn write(export: &Export) -> Result<Files> {
    let kinds = [export.sparse(), export.low_rank(), export.hooked().next().is_some()];
    if kinds.into_iter().filter(|there| *there).count() > 1 {
        return Err(export.adapter.error("changes of different kinds in one adapter have no method"));
    }
    let mut vectors = Vectors::new();
    let mut dense = Vec::new();
    let (method, settings) = if export.sparse() {
        (sparta::METHOD.name, sparse(export, &mut vectors)?)
    } else if export.low_rank() {
        (lora::METHOD.name, low_rank(export, &mut vectors)?)
    } else if let Some((_, change)) = export.hooked().next() {
        (change.method, hooked(export, &mut vectors)?)
    } else {
        let trained = |t: &TensorChange| json!({ "name": t.name, "shape": t.shape, "trained": t.change.len() });
        (full::METHOD.name, json!({ "tensors": export.changes.iter().map(trained).collect::<Vec<_>>() }))
    };
    for tensor in &export.changes {
        let Change::Replace(values) = &tensor.change else { continue };
        floats(&mut vectors, tensor.name.clone(), values)?;
        if method != full::METHOD.name {
            dense.push(TensorShape { name: tensor.name.clone(), shape: tensor.shape.clone() });
        }
    }
    let info = Info {
        format: NAME.into(),
        version: VERSION,
        method: method.into(),
        base_model: BaseModel {
            name: export.base.name(),
            model_type: export.base.transformer.architecture.model_type.clone(),
            parameters: export.base.transformer.parameter_count(),
            fingerprint: export.base.fingerprint.clone(),
        },
        trained_parameters: export.changes.iter().map(|tensor| tensor.change.len()).sum(),
        dtype: dtype_name(Dtype::F32).into(),
        settings,
        dense,
        classify: export.adapter.info.classify.clone(),
        quantized: export.adapter.info.quantized,
    };
    folder_files(&info, &vectors)
}

/// Settings and vectors of a sparse adapter with explicit indices.
fn sparse(export: &Export, vectors: &mut Vectors) -> Result<Value> {
    let mut tensors = Vec::new();
    let mut trained = 0;
    for tensor in &export.changes {
        let Change::Sparse { indices, values } = &tensor.change else { continue };
        trained += indices.len();
        tensors.push(json!({ "name": tensor.name, "shape": tensor.shape, "drawn": indices.len() }));
        floats(vectors, format!("{}.delta", tensor.name), values)?;
        let bytes = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
        vectors.push((format!("{}.indices", tensor.name), Dtype::U32, indices.len(), bytes));
    }
    let sparsity = 1.0 - trained as f64 / export.base.transformer.parameter_count() as f64;
    Ok(json!({ "seed": 0, "sparsity": sparsity, "tensors": tensors, "drawn_from_seed": false }))
}

/// Settings and vectors of layers that compute in a method's own way, which are the same for all of them.
fn hooked(export: &Export, vectors: &mut Vectors) -> Result<Value> {
    let mut tensors = Vec::new();
    let mut settings: Option<(&str, Value)> = None;
    for (tensor, change) in export.hooked() {
        let own = (change.method, change.hook.settings());
        if settings.get_or_insert_with(|| own.clone()) != &own {
            return Err(export.adapter.error(format!(
                "{} has other settings than the layers before it, which the layout of agoge does not know",
                tensor.name
            )));
        }
        tensors.push(json!({ "name": tensor.name, "shape": tensor.shape }));
        for (leaf, _, values) in &change.leaves {
            floats(vectors, format!("{}.{leaf}", tensor.name), values)?;
        }
    }
    let mut settings = settings.map_or(Value::Null, |(_, settings)| settings);
    settings["tensors"] = json!(tensors);
    Ok(settings)
}

/// Settings and vectors of a low-rank adapter. The layout knows one rank and one factor: smaller ranks are filled up
/// with zeros, other factors are multiplied into `B`.
fn low_rank(export: &Export, vectors: &mut Vectors) -> Result<Value> {
    let of = |tensor: &TensorChange| match tensor.change {
        Change::LowRank { rank, scale, .. } => Some((rank, scale)),
        _ => None,
    };
    let rank = export.changes.iter().filter_map(of).map(|(rank, _)| rank).max().unwrap_or(1);
    let common = export.changes.iter().find_map(of).map_or(1.0, |(_, scale)| scale);
    let common = if common == 0.0 { 1.0 } else { common };
    let mut tensors = Vec::new();
    for tensor in &export.changes {
        let Change::LowRank { rank: own, a, b, scale } = &tensor.change else { continue };
        tensors.push(json!({ "name": tensor.name, "shape": tensor.shape }));
        let mut a = a.clone();
        a.resize(a.len() / own * rank, 0.0);
        let mut filled = Vec::with_capacity(b.len() / own * rank);
        for row in b.chunks(*own) {
            // Untouched where the factors agree.
            filled.extend(row.iter().map(|&value| if *scale == common { value } else { value * (scale / common) }));
            filled.resize(filled.len() + rank - own, 0.0);
        }
        floats(vectors, format!("{}.lora_a", tensor.name), &a)?;
        floats(vectors, format!("{}.lora_b", tensor.name), &filled)?;
    }
    Ok(json!({ "rank": rank, "alpha": common * rank as f32, "scale": common, "tensors": tensors }))
}
