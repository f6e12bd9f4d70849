//! `agoge inspect`: what a folder holds, without a device.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    chart::sparkline,
    format::{bytes, count, percent, seconds},
};
use crate::{
    Error, Result,
    data::Tokenizer,
    method::{adapter::Adapter, formats::FORMATS},
    model::{Architecture, architecture::Positions, family, fingerprint, weights::Weights},
    source::{Files, ModelSource, to_stderr},
    train::{checkpoint, metrics},
};

/// Arguments of `agoge inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Folder of a run, an adapter or a model, org/name (org/name@revision) on the Hugging Face hub, or agoge-demo
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Write the facts as JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> Result<ExitCode> {
        let folder = &ModelSource::named(&self.folder, "")?.folder(Files::All, &to_stderr)?;
        if !folder.is_dir() {
            return Err(Error::input(format!("{}: there is no such folder", folder.display())));
        }
        let config = read_json(&folder.join("config.json"))?;
        // Adapters of the SpaRTA authors' package come with their model's config.json.
        let has_adapter = FORMATS.iter().any(|format| folder.join(format.marker).exists());
        let is_model = !has_adapter && config.as_ref().is_some_and(|config| config.get("model_type").is_some());
        let (facts, lines) = if is_model {
            model(folder, config.unwrap_or_default())?
        } else if config.is_some() || has_adapter {
            run(folder, config, has_adapter)?
        } else {
            return Err(Error::input(format!(
                "{}: neither a run or an adapter (adapter.json, config.json) nor a model folder (config.json with model_type)",
                folder.display()
            )));
        };
        if self.json {
            println!("{facts:#}");
        } else {
            lines.iter().for_each(|line| println!("{line}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn read_json(path: &Path) -> Result<Option<Value>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(|e| Error::file("read", path, e))?;
    serde_json::from_str(&text).map(Some).map_err(|e| Error::input(format!("{}: not valid JSON: {e}", path.display())))
}

fn model(folder: &Path, config: Value) -> Result<(Value, Vec<String>)> {
    let a = family::describe(&config)?;
    let weights = Weights::open(folder)?;
    let print = fingerprint::of(&weights)?;
    let mut types: BTreeMap<String, usize> = BTreeMap::new();
    for name in weights.names() {
        if let Some(dtype) = weights.dtype(name) {
            *types.entry(format!("{dtype:?}")).or_default() += 1;
        }
    }
    let stored = types.iter().map(|(dtype, tensors)| format!("{tensors} x {dtype}")).collect::<Vec<_>>().join(", ");
    let mut lines = vec![
        format!("model        {} ({})", folder.display(), a.model_type),
        format!("parameters   {}", count(a.parameters())),
        format!("shape        {} layers, width {}, feed-forward {}", a.layers(), a.hidden_size, a.intermediate_size),
        format!("attention    {} heads over {} key/value heads of {}", a.heads, a.kv_heads, a.head_dim),
        format!("vocabulary   {} tokens, {} head", count(a.vocab_size), if a.tied_head { "tied" } else { "separate" }),
        format!("positions    {}, {}", count(a.max_positions), positions(&a)),
        format!("tensors      {stored}"),
        format!("fingerprint  {}", &print[..16]),
    ];
    let template = match Tokenizer::from_folder(folder) {
        Ok(tokenizer) => {
            let chat = tokenizer.chat_template().is_some();
            let template = if chat { "with" } else { "without" };
            lines.push(format!("tokenizer    {} tokens, {template} chat template", count(tokenizer.vocab_size())));
            Some(chat)
        }
        Err(error) => {
            lines.push(format!("tokenizer    {error}"));
            None
        }
    };
    let facts = json!({
        "kind": "model", "model_type": a.model_type, "parameters": a.parameters(), "layers": a.layers(),
        "hidden_size": a.hidden_size, "vocab_size": a.vocab_size, "max_positions": a.max_positions,
        "tensors": types, "fingerprint": print, "chat_template": template,
    });
    Ok((facts, lines))
}

/// How tokens know their positions.
fn positions(a: &Architecture) -> String {
    match &a.positions {
        Positions::Learned => "learned".into(),
        Positions::Rotary(ropes) => {
            let bases: Vec<String> = ropes.iter().map(|rope| rope.theta.to_string()).collect();
            format!("rotary base {}", bases.join(" and "))
        }
    }
}

fn run(folder: &Path, config: Option<Value>, has_adapter: bool) -> Result<(Value, Vec<String>)> {
    let mut lines = vec![format!("run          {}", folder.display())];
    let mut facts = json!({ "kind": "run", "config": config });
    if has_adapter {
        let adapter = Adapter::read(folder)?;
        let info = &adapter.info;
        let base = &info.base_model;
        // Other programs do not say how large the model is, nor which weights it has.
        let share = match base.parameters {
            0 => String::new(),
            all => format!(" of {} ({})", count(all), percent(info.trained_parameters as f64 / all as f64)),
        };
        lines.push(format!(
            "method       {}, {} trainable parameters{share}",
            info.method,
            count(info.trained_parameters)
        ));
        if let Some(packing) = info.quantized {
            lines.push(format!("base weights quantized to {} bits in linear layers", packing.bits()));
        }
        let known = match (&base.model_type[..], base.fingerprint.get(..16)) {
            (model_type, Some(fingerprint)) => format!(" ({model_type}), fingerprint {fingerprint}"),
            _ => String::new(),
        };
        lines.push(format!("base model   {}{known}", base.name));
        if let Some(classify) = &info.classify {
            lines.push(format!("classes      {}", classify.classes.join(", ")));
            lines.extend(classify.template.iter().map(|template| format!("template     {template}")));
        }
        let tensors: u64 = adapter.weights.names().map(|name| adapter.weights.stored_bytes(name) as u64).sum();
        lines.push(format!("adapter      {} in {}, layout {}", bytes(tensors), info.dtype, adapter.format.name));
        // Matrices that a method has of its own for a tensor are stored under that tensor's name and their own.
        let stored = |name: &str| {
            let matrices = adapter
                .weights
                .names()
                .filter(|known| known.strip_prefix(name).is_some_and(|end| end.starts_with('.')));
            matrices.filter_map(|name| Some(adapter.weights.dims(name)?.iter().product::<usize>())).sum()
        };
        lines.extend(modules(info.settings.get("tensors"), &stored));
        facts["adapter"] = json!(info);
    } else {
        lines.push("adapter      none yet".into());
    }
    let metrics = metrics::read(&folder.join("metrics.jsonl"))?;
    let losses: Vec<f64> = metrics.iter().filter_map(|m| m.loss).collect();
    if let (Some(first), Some(last)) = (losses.first(), losses.last()) {
        lines.push(format!("loss         {first:.4} {} {last:.4}", sparkline(&losses, 40)));
    }
    let evals: Vec<(u64, f64)> = metrics.iter().filter_map(|m| Some((m.step, m.eval_loss?))).collect();
    if let (Some(first), Some(best)) = (evals.first(), evals.iter().min_by(|a, b| a.1.total_cmp(&b.1))) {
        lines.push(format!("validation   {:.4} at step {}, best {:.4} at step {}", first.1, first.0, best.1, best.0));
    }
    if let Some(last) = metrics.iter().rfind(|m| m.loss.is_some()) {
        lines.push(format!(
            "progress     {} steps, {} tokens, {}, {} tokens/s",
            last.step,
            count(last.tokens as usize),
            seconds(last.elapsed_secs),
            count((last.tokens as f64 / last.elapsed_secs.max(1e-9)) as usize)
        ));
        facts["last"] = json!(last);
    }
    let checkpoints = checkpoint::list(&folder.join("checkpoints"));
    let steps: Vec<String> = checkpoints.iter().map(|(step, _)| step.to_string()).collect();
    let is_run = folder.join("metrics.jsonl").exists();
    if is_run {
        lines.push(format!("checkpoints  {}", if steps.is_empty() { "none".into() } else { steps.join(", ") }));
    }
    facts["checkpoints"] = json!(checkpoints.iter().map(|(step, _)| step).collect::<Vec<_>>());
    Ok((facts, lines))
}

/// Trainable parameters by module name, over all layers; those of a tensor that does not say how many are `stored` for it.
fn modules(tensors: Option<&Value>, stored: &dyn Fn(&str) -> usize) -> Vec<String> {
    let mut by_module: BTreeMap<String, (usize, usize, usize)> = BTreeMap::new();
    for tensor in tensors.and_then(Value::as_array).into_iter().flatten() {
        let Some(name) = tensor["name"].as_str() else { continue };
        let len: u64 = tensor["shape"].as_array().into_iter().flatten().filter_map(Value::as_u64).product();
        let rows = tensor["rows"].as_array().map_or(0, |rows| rows.len() as u64);
        let width = tensor["shape"].as_array().and_then(|dims| dims.last()?.as_u64()).unwrap_or(0);
        let trained = tensor["drawn"].as_u64().map(|drawn| drawn + rows * width).or(tensor["trained"].as_u64());
        let module = name.trim_end_matches(".weight").rsplit('.').next().unwrap_or(name).to_owned();
        let entry = by_module.entry(module).or_default();
        entry.0 += 1;
        entry.1 += trained.map_or_else(|| stored(name), |trained| trained as usize);
        entry.2 += len as usize;
    }
    let line = |(module, (tensors, trained, len)): (String, (usize, usize, usize))| {
        format!(
            "  {module:<24} {tensors:>3} tensors  {:>10}  {}",
            count(trained),
            percent(trained as f64 / len.max(1) as f64)
        )
    };
    by_module.into_iter().map(line).collect()
}

/// The lines of `metrics.jsonl` that are whole.
#[cfg(test)]
#[test]
fn modules_count_rows_and_drawn_entries() {
    let tensors = json!([{ "name": "a.0.v_proj.weight", "shape": [4, 8], "drawn": 3, "rows": [1] }]);
    let lines = |tensors: &Value, stored: usize| modules(Some(tensors), &|_| stored);
    assert!(lines(&tensors, 0)[0].contains("11"), "{:?}", lines(&tensors, 0));
    let full = json!([crate::event::TrainedTensor { name: "x.norm.weight".into(), shape: vec![8], trained: 8 }]);
    let low_rank = json!([{ "name": "a.0.v_proj.weight", "shape": [4, 8] }]);
    assert!(lines(&low_rank, 24)[0].contains("24"), "{:?}", lines(&low_rank, 24));
    assert!(lines(&full, 0)[0].contains("100 %"), "{:?}", lines(&full, 0));
}
