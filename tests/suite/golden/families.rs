//! Reference values of further model families: every case of the folder that `AGOGE_GOLDEN_FAMILIES` names (default:
//! `golden-families` among the shared files, else `tests/golden-families`), described by its `config.json` and by the older
//! keys of `config-old.json`. A case either equals the reference in everything, or is refused with a sentence about it.

use std::path::{Path, PathBuf};

use agoge::{
    Error, Result,
    device::ComputeDevice,
    files,
    method::targets,
    model::{
        Pretrained, Role, architecture::Positions, classifier::Purpose, family, pretrained::read_config, save,
        weights::Weights,
    },
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
    "stablelm-parallel",
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

/// Writes the weights of `case` with another tensor beside them.
fn with_tensor(case: &Case, name: &str, dtype: Dtype, dims: &[usize], bytes: &[u8]) {
    let path = case.folder.join("model.safetensors");
    let weights = Weights::from_bytes("case", std::fs::read(&path).expect("weights")).expect("weights");
    let stored: Vec<_> = weights
        .names()
        .filter(|stored| *stored != name)
        .map(|name| {
            let bytes = weights.bytes(name).expect("bytes").into_owned();
            (
                name.to_owned(),
                weights.dtype(name).expect("a type"),
                weights.dims(name).expect("a shape").to_vec(),
                bytes,
            )
        })
        .collect();
    let views = stored.iter().map(|(name, dtype, dims, bytes)| (name.clone(), *dtype, dims.clone(), &bytes[..]));
    let views = views.chain([(name.to_owned(), dtype, dims.to_vec(), bytes)]);
    std::fs::write(&path, files::safetensors(views, &[]).expect("safetensors")).expect("model.safetensors");
}

fn f32_bytes(values: impl IntoIterator<Item = f64>) -> Vec<u8> {
    values.into_iter().flat_map(|value| (value as f32).to_le_bytes()).collect()
}

#[test]
fn tensors_left_over_are_what_their_names_promise() -> Result<()> {
    supported(|case| {
        let architecture = case.load(&ComputeDevice::cpu())?.transformer.architecture;
        let refused = |name: &str, words: &str| {
            let said = case.load(&ComputeDevice::cpu()).expect_err(name).to_string();
            assert!(said.contains(name) && said.contains(words), "{said}");
        };
        if case.info["model_type"] == "gpt_neox" {
            let (mask, hidden) = ("gpt_neox.layers.0.attention.bias", "gpt_neox.layers.1.attention.masked_bias");
            let below: Vec<u8> = (0..16).map(|at| u8::from(at % 4 <= at / 4)).collect();
            with_tensor(case, mask, Dtype::U8, &[1, 1, 4, 4], &below);
            with_tensor(case, hidden, Dtype::F32, &[], &f32_bytes([-1e9]));
            case.load(&ComputeDevice::cpu())?;
            with_tensor(case, mask, Dtype::U8, &[1, 1, 4, 4], &[1; 16]);
            refused(mask, "is not a mask of later positions");
            with_tensor(case, mask, Dtype::U8, &[1, 1, 4, 4], &below);
            with_tensor(case, hidden, Dtype::F32, &[], &f32_bytes([0.0]));
            refused(hidden, "is not the score of hidden positions");
        } else if let Positions::Rotary(ropes) = &architecture.positions {
            let name = "model.layers.0.self_attn.rotary_emb.inv_freq";
            let rotated = ropes[0].rotated(architecture.head_dim);
            let plain = |theta: f64| (0..rotated / 2).map(move |i| theta.powf(-2.0 * i as f64 / rotated as f64));
            with_tensor(case, name, Dtype::F32, &[rotated / 2], &f32_bytes(plain(ropes[0].theta)));
            case.load(&ComputeDevice::cpu())?;
            // Two frequencies at least: the first is 1 with any base.
            if rotated > 2 {
                with_tensor(case, name, Dtype::F32, &[rotated / 2], &f32_bytes(plain(3.0 * ropes[0].theta)));
                refused(name, "has other rotary frequencies");
            }
        }
        Ok(())
    })
}
