//! Reference values of further model families: every case of the folder that `AGOGE_GOLDEN_FAMILIES` names (default:
//! `golden-families` among the shared files, else `tests/golden-families`), described by its `config.json` and by the older
//! keys of `config-old.json`. A case either equals the reference in everything, or is refused with a sentence about it.

use std::path::{Path, PathBuf};

use agoge::{
    Error, Result,
    device::ComputeDevice,
    method::targets,
    model::{Pretrained, Role, classifier::Purpose, family, pretrained::read_config, save},
};
use pollster::block_on;
use safetensors::Dtype;
use serde_json::Value;
use tempfile::TempDir;

use super::{case::Case, check_gradients, check_greedy_tokens, check_logits_and_loss, matrix};
use crate::{
    fixture::read_text,
    support::{devices, say},
};

/// Cases that must run wherever their folder is there: this list may grow, never shrink.
const SUPPORTED: &[&str] = &[
    "exaone4",
    "gemma-classify",
    "gpt-neox",
    "gpt-neox-serial",
    "llama-bias",
    "llama-head-dim",
    "llama-linear",
    "llama-rope-both",
    "llama-rope-both-no-theta",
    "modernbert-classify",
    "modernbert-classify-mean",
    "olmo2",
    "qwen2-classify",
    "stablelm",
];

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("AGOGE_SHARED").map_or_else(|| here.join("../shared"), PathBuf::from);
    let shared = shared.join("golden-families");
    let default = if shared.is_dir() { shared } else { here.join("tests/golden-families") };
    std::env::var_os("AGOGE_GOLDEN_FAMILIES").map_or(default, PathBuf::from)
}

/// A copy of a case in which `config` is called config.json.
fn copied(case: &Path, config: &str) -> (TempDir, PathBuf) {
    let place = TempDir::new().expect("a temporary folder");
    let name = format!("{} ({config})", case.file_name().unwrap_or_default().to_string_lossy());
    let folder = place.path().join(name);
    std::fs::create_dir(&folder).expect("a folder");
    let files = [(config, "config.json"), ("case.json", "case.json"), ("case.safetensors", "case.safetensors")];
    for (from, to) in files.into_iter().chain([("model.safetensors", "model.safetensors")]) {
        std::fs::copy(case.join(from), folder.join(to))
            .unwrap_or_else(|e| panic!("{}: {e}", case.join(from).display()));
    }
    (place, folder)
}

fn load(folder: &Path) -> Result<Pretrained> {
    let purpose = Purpose::of_checkpoint(&read_config(folder)?);
    Pretrained::load_for(folder, purpose, &ComputeDevice::cpu())
}

/// The reason must be one sentence that names the family, or what of a supported family is not supported.
fn assert_refused(name: &str, info: &Value, error: &Error) {
    let (said, model_type) = (error.to_string(), info["model_type"].as_str().expect("a model_type"));
    say(&format!("golden case not supported: {name} ({said})"));
    assert!(!SUPPORTED.contains(&name), "{name} was supported before: {said}");
    let known = family::supported().contains(&model_type);
    let names_it = said.contains(&format!("\"{model_type}\"")) || (known && said.contains("config.json"));
    let no_language_model = info["task"] != "causal-lm" && said.contains(model_type);
    assert!(!said.contains('\n') && (names_it || no_language_model), "{name}: {said}");
}

/// What is supported, under either of its configurations.
fn supported(check: impl Fn(&Case) -> Result<()>) -> Result<()> {
    let root = root();
    let mut ran = 0;
    for entry in std::fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display())).flatten() {
        let (folder, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if !folder.join("case.json").exists() {
            continue;
        }
        let info: Value = serde_json::from_str(&read_text(&folder.join("case.json"))).expect("case.json");
        for config in ["config.json", "config-old.json"].into_iter().filter(|config| folder.join(config).exists()) {
            let (_place, folder) = copied(&folder, config);
            if let Err(error) = load(&folder) {
                assert_refused(&name, &info, &error);
                continue;
            }
            check(&Case::open(&folder)?)?;
            ran += 1;
        }
    }
    assert!(ran > 0, "{}: no case is supported", root.display());
    Ok(())
}

#[test]
fn logits_and_loss() -> Result<()> {
    supported(check_logits_and_loss)
}

#[test]
fn every_gradient_by_name() -> Result<()> {
    supported(check_gradients)
}

#[test]
fn greedy_tokens() -> Result<()> {
    supported(|case| if case.info.get("greedy").is_some() { check_greedy_tokens(case) } else { Ok(()) })
}

/// Logits at every position, or of every row.
fn logits(case: &Case, model: &Pretrained, device: &ComputeDevice) -> Result<Vec<f32>> {
    let batch = case.batch(0)?;
    let prepared = super::Prepared::new(&batch, &model.transformer, device);
    let hidden = model.transformer.hidden(prepared.ids.clone(), &prepared.layout);
    Ok(matrix(prepared.logits(&model.transformer, hidden)))
}

#[test]
fn saved_folders_hold_the_same_model() -> Result<()> {
    supported(|case| {
        for device in devices() {
            let model = case.load(&device)?;
            let out = case.folder.with_file_name(format!("saved-{}", device.is_cpu()));
            block_on(save::folder(&model, Dtype::F32, &out, save::MOST_FILE_BYTES))?;
            let again = Pretrained::load_for(&out, model.purpose.clone(), &device)?;
            let names = |model: &Pretrained| -> Vec<(String, Vec<usize>)> {
                model.transformer.parameters().iter().map(|p| (p.name.clone(), p.dims.clone())).collect()
            };
            assert_eq!(names(&model), names(&again), "{}", case.name());
            let (before, after) = (logits(case, &model, &device)?, logits(case, &again, &device)?);
            assert!(before.iter().zip(&after).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", case.name());
        }
        Ok(())
    })
}

#[test]
fn weights_are_targets_under_the_names_of_the_checkpoint() -> Result<()> {
    supported(|case| {
        let model = case.load(&ComputeDevice::cpu())?;
        let linear = targets::select(&model.transformer, &["all-linear".into()], &[])?;
        let expected = model.transformer.parameters().into_iter().filter(|p| p.is_linear()).map(|p| p.name.clone());
        assert_eq!(linear, expected.collect::<Vec<_>>(), "{}", case.name());
        assert!(linear.iter().all(|name| case.values.dims(&format!("grad.{name}")).is_some()), "{}", case.name());
        if case.info["model_type"] == "gpt_neox" {
            let fused = targets::select(&model.transformer, &["query_key_value.weight".into()], &[])?;
            assert_eq!(fused.len(), model.transformer.blocks.len());
        }
        assert!(model.transformer.parameters().iter().any(|p| p.role == Role::Norm));
        Ok(())
    })
}
