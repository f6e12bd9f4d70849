//! The layout of Hugging Face PEFT: `adapter_config.json` and `adapter_model.safetensors`, for the kinds LORA and SHIRA.

use std::path::Path;

use safetensors::Dtype;
use serde_json::{Value, json};

use super::{
    common, lora,
    peft_parts::{PREFIX, VALUES, floats, module, names, part},
    shira,
};
use crate::{
    Error, Result, files,
    method::{
        adapter::{Adapter, BaseModel, Export, Files, Format, Info, dtype_name},
        change::{Change, TensorChange},
        dora, lora as lora_method,
    },
    model::{Role, Transformer, weights::Weights},
    storage,
};

const CONFIG: &str = "adapter_config.json";
/// The release of PEFT whose layout is written.
const WRITTEN_FOR: &str = "0.21.2";
/// The head of transformers' sequence classifiers.
const HEAD: &str = "score";
/// What sparse adapters of PEFT are called: a method that agoge does not train, but can continue with.
const SHIRA: &str = "shira";

pub(super) const FORMAT: Format = Format {
    name: "peft",
    about: "Hugging Face PEFT: low-rank adapters as LoRA, sparse ones as SHiRA",
    marker: CONFIG,
    open,
    changes,
    write,
};

/// Fields whose presence (not null, not false, not empty) means something that agoge does not do.
const REFUSED: &[(&str, &str)] = &[
    ("use_bdlora", "BD-LoRA (use_bdlora)"),
    ("use_qalora", "QALoRA (use_qalora)"),
    ("lora_bias", "a bias in the low-rank matrices (lora_bias)"),
    ("target_parameters", "adapted bare parameters (target_parameters)"),
    ("trainable_token_indices", "trainable tokens (trainable_token_indices)"),
    ("layer_replication", "replicated layers (layer_replication)"),
    ("alora_invocation_tokens", "activation by tokens (alora_invocation_tokens)"),
    ("arrow_config", "routing between adapters (arrow_config)"),
    ("kasa_config", "KaSA (kasa_config)"),
    ("velora_config", "VeLoRA (velora_config)"),
];

fn open(folder: &Path) -> Result<(Info, Weights)> {
    let path = folder.join(CONFIG);
    let config = common::read_json(&path)?;
    let refuse = |what: String| Err(Error::input(format!("{}: {what}", path.display())));
    let kind = config["peft_type"].as_str().unwrap_or_default();
    let method = match kind {
        "LORA" if config["use_dora"] == true => dora::METHOD.name,
        "LORA" => lora_method::METHOD.name,
        "SHIRA" => SHIRA,
        other => {
            return refuse(format!("a PEFT adapter of the kind \"{other}\" is not supported; LORA and SHIRA are"));
        }
    };
    let set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    if let Some((_, what)) = REFUSED.iter().find(|(key, _)| set(&config[*key])) {
        return refuse(format!("{what} is not supported; merge it with PEFT and use the merged model"));
    }
    if config["bias"].as_str().is_some_and(|bias| bias != "none") {
        return refuse("trained biases (bias) are not supported; merge it with PEFT and use the merged model".into());
    }
    if !storage::exists(folder.join(VALUES)) && storage::exists(folder.join("adapter_model.bin")) {
        return refuse(format!(
            "its values are in adapter_model.bin; save them as {VALUES} (save_pretrained of a current PEFT does)"
        ));
    }
    let weights = common::read_weights(&folder.join(VALUES))?;
    let trained = weights.names().filter(|name| !name.ends_with(shira::INDICES));
    let trained = trained.filter_map(|name| Some(weights.dims(name)?.iter().product::<usize>())).sum();
    let dtype = dtype_name(weights.names().find_map(|name| weights.dtype(name)).unwrap_or(Dtype::F32)).to_owned();
    let name = config["base_model_name_or_path"].as_str().unwrap_or_default().to_owned();
    let base = BaseModel { name, model_type: String::new(), parameters: 0, fingerprint: String::new() };
    let mut info = common::foreign(method, base, dtype, trained, config);
    info.classify = classifier(&info.settings, &weights);
    Ok((info, weights))
}

/// PEFT stores no names of classes, but the rows of the head tell how many there are.
fn classifier(config: &Value, weights: &Weights) -> Option<crate::method::adapter::Classify> {
    if config["task_type"] != "SEQ_CLS" {
        return None;
    }
    let rows = weights.dims(&format!("{PREFIX}{HEAD}.weight"))?.first()?;
    let classes = (0..*rows).map(|id| format!("LABEL_{id}")).collect();
    Some(crate::method::adapter::Classify { classes, template: None })
}

fn changes(adapter: &Adapter, transformer: &Transformer) -> Result<Vec<TensorChange>> {
    let mut changes = match adapter.info.method.as_str() {
        SHIRA => shira::changes(adapter, transformer)?,
        _ => lora::changes(adapter, transformer)?,
    };
    let saved: Vec<&str> =
        adapter.info.settings["modules_to_save"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for name in names(adapter) {
        let name = name?;
        if lora::is_part(name) || shira::is_part(name) {
            continue;
        }
        let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
        let ends_with = |wanted: &&str| module == *wanted || module.ends_with(&format!(".{wanted}"));
        // Resized embeddings are saved without being listed.
        let embedding = transformer.embeddings.tokens.name == name;
        if !saved.iter().any(ends_with) && !embedding {
            return Err(
                adapter.error(format!("{VALUES}: the tensor {PREFIX}{name} is of a kind that is not supported"))
            );
        }
        let values = part(adapter, name)?;
        let shape = adapter.weights.dims(&format!("{PREFIX}{name}")).unwrap_or_default().to_vec();
        changes.push(TensorChange { name: name.to_owned(), shape, change: Change::Replace(values) });
    }
    Ok(changes)
}

fn write(export: &Export) -> Result<Files> {
    let dora = export.hooked().all(|(tensor, _)| dora::parts(&tensor.change).is_some());
    let low_rank = export.low_rank() || export.hooked().next().is_some();
    let (mut parts, mut config) = match (low_rank && dora, export.sparse()) {
        (true, false) => lora::write(export)?,
        (false, true) => shira::write(export)?,
        _ => {
            return Err(export.adapter.error(
                "PEFT has no layout for what this adapter changes; export it as agoge, or merge it into the model",
            ));
        }
    };
    let mut replaced = Vec::new();
    for tensor in &export.changes {
        let Change::Replace(values) = &tensor.change else { continue };
        replaced.push(tensor.name.rsplit_once('.').map_or(&tensor.name[..], |(module, _)| module).to_owned());
        parts.push(floats(tensor.name.clone(), tensor.shape.clone(), values)?);
    }
    let task = if export.adapter.info.classify.is_some() { "SEQ_CLS" } else { "CAUSAL_LM" };
    for (key, value) in [
        ("auto_mapping", Value::Null),
        ("base_model_name_or_path", export.base_name.clone().into()),
        ("inference_mode", true.into()),
        ("modules_to_save", if replaced.is_empty() { Value::Null } else { json!(replaced) }),
        ("peft_version", WRITTEN_FOR.into()),
        ("revision", Value::Null),
        ("target_modules", json!(targets(export))),
        ("task_type", task.into()),
    ] {
        config.insert(key.into(), value);
    }
    let views =
        parts.iter().map(|(name, dtype, dims, bytes)| (format!("{PREFIX}{name}"), *dtype, dims.clone(), &bytes[..]));
    let values = files::safetensors(views, &[("format", "pt")])?;
    let config = serde_json::to_string_pretty(&config).map_err(|e| Error::Run(format!("{CONFIG}: {e}")))?;
    Ok(vec![(VALUES, values), (CONFIG, format!("{config}\n").into_bytes())])
}

/// What to call the adapted modules: the last part of their names where that means exactly them, else whole names.
fn targets(export: &Export) -> Vec<String> {
    let adapted: Vec<&str> = export
        .changes
        .iter()
        .filter(|tensor| !matches!(tensor.change, Change::Replace(_)))
        .map(|tensor| module(&tensor.name))
        .collect();
    let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let mut short: Vec<String> = adapted.iter().map(|name| last(name)).collect();
    short.sort();
    short.dedup();
    let parameters = export.base.transformer.parameters();
    let all = parameters.iter().filter(|p| matches!(p.role, Role::Linear | Role::Embedding));
    let meant = all.map(|p| module(&p.name)).filter(|name| short.contains(&last(name))).count();
    if meant == adapted.len() { short } else { adapted.into_iter().map(str::to_owned).collect() }
}
