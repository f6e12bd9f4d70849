//! Golden values from PyTorch, transformers and the SpaRTA authors' package: logits, loss, every gradient by name,
//! greedy tokens, and whole training trajectories, on the WGSL path and on the CPU device.
//!
//! Every case in the folders that `AGOGE_GOLDEN` (default: `tests/golden`) and `AGOGE_GOLDEN_METHODS` (default:
//! `../shared/golden-methods`, else `tests/golden-methods`) name is run, or listed as not supported. No test states a count, a
//! size or a layer number of a case that it reads.

pub mod case;
mod families;
mod limits;
mod published;
mod trajectories;

use std::path::{Path, PathBuf};

use agoge::{
    Result,
    generate::{Generation, Sampling},
    kernel::{self, Matrix},
    method::mask,
    model::{Adaptation, LinearCall, Pretrained},
    train::objective::Prepared,
};
use burn::tensor::{Int, Tensor};
use case::{Case, track_all};
use limits::devices;
use pollster::block_on;
use serde_json::Value;

use crate::support::{assert_close, say};

/// Cases that must run wherever their folder is there: this list may grow, never shrink.
const SUPPORTED: &[&str] = &[
    "llama-tied",
    "llama-untied-rope3",
    "mistral-window",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3",
    "gpt2",
    "llama-classify",
    "bert-classify",
    "train-sparta",
    "train-full",
    "train-lora",
    "train-shira",
    "train-dora",
    "train-rslora",
];

/// The folders of cases: the core's, and those of further methods.
fn roots() -> [PathBuf; 2] {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let shared = named("AGOGE_SHARED").unwrap_or_else(|| here.join("../shared")).join("golden-methods");
    let methods = named("AGOGE_GOLDEN_METHODS").or_else(|| shared.exists().then_some(shared));
    [
        named("AGOGE_GOLDEN").unwrap_or_else(|| here.join("tests/golden")),
        methods.unwrap_or_else(|| here.join("tests/golden-methods")),
    ]
}

fn cases(wanted: impl Fn(&Value) -> bool) -> Vec<Case> {
    let mut found = Vec::new();
    for root in roots() {
        let entries = std::fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
        let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        for folder in folders.into_iter().filter(|folder| folder.join("config.json").exists()) {
            let Ok(text) = std::fs::read_to_string(folder.join("case.json")) else { continue };
            let info: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
            if !wanted(&info) {
                continue;
            }
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let config = agoge::model::pretrained::read_config(&folder).unwrap_or_else(|e| panic!("{e}"));
            let reason = match agoge::model::family::describe(&config) {
                Err(e) => Some(e.to_string()),
                Ok(_) if info["method"].as_str().is_some_and(|name| trajectories::start(name).is_none()) => {
                    Some("method".into())
                }
                Ok(_) => None,
            };
            if let Some(reason) = reason {
                say(&format!("golden case not supported yet: {name} ({reason})"));
                assert!(!SUPPORTED.contains(&name.as_str()), "{name} was supported before: {reason}");
                continue;
            }
            found.push(Case::open(&folder).unwrap_or_else(|e| panic!("{e}")));
        }
    }
    found
}

fn forward_cases() -> Vec<Case> {
    cases(|info| info.get("task").is_some())
}

fn vector(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

fn matrix(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

/// Tracks some entries of the tensor, with the sparse layers.
#[derive(Debug)]
struct Sparse(Tensor<1>, Tensor<1, Int>);

impl Adaptation for Sparse {
    fn linear(&self, layer: LinearCall<'_>) -> Tensor<2> {
        let transposed = layer.transposed;
        layer.with_added(|x, weight, added| {
            kernel::sparse_linear(x, weight, self.0.clone(), self.1.clone(), added, transposed)
        })
    }

    fn embed(&self, ids: Tensor<1, Int>, weight: &Matrix) -> Tensor<2> {
        kernel::sparse_embedding(ids, weight, self.0.clone(), self.1.clone())
    }

    fn small(&self, weight: &Matrix) -> Tensor<2> {
        kernel::sparse_tensor(weight.dense(), self.0.clone(), self.1.clone())
    }
}

#[test]
fn logits_and_loss() -> Result<()> {
    forward_cases().iter().try_for_each(check_logits_and_loss)
}

fn check_logits_and_loss(case: &Case) -> Result<()> {
    for device in devices() {
        let model = case.load(&device)?;
        let batch = case.batch(0)?;
        let (rtol, atol) = (case.number("rtol")? as f32, case.number("atol")? as f32);
        let layout = model.transformer.layout(batch.row_count, batch.width, Some(&batch.attention_mask), &[]);
        let hidden = model.transformer.hidden(device.integers(batch.ids.clone()), &layout);
        let logits = match batch.classes[..] {
            [] => model.transformer.head(hidden),
            _ => Prepared::new(&batch, &model.transformer, &device).logits(&model.transformer, hidden),
        };
        let (mut logits, mut expected) = (matrix(logits), case.floats("logits")?);
        if batch.classes.is_empty() && model.transformer.architecture.windowed() {
            // A padded position whose window holds nothing but padding has no meaningful output.
            let vocabulary = model.transformer.architecture.vocab_size;
            for values in [&mut logits, &mut expected] {
                let kept = values.chunks(vocabulary).zip(&batch.attention_mask).filter(|(_, mask)| **mask != 0);
                *values = kept.flat_map(|(row, _)| row.to_vec()).collect();
            }
        }
        assert_close(&format!("{} logits", case.name()), &logits, &expected, rtol, atol);

        let prepared = Prepared::new(&batch, &model.transformer, &device);
        let x = model.transformer.hidden(prepared.ids.clone(), &prepared.layout);
        let by_rows = vector(prepared.loss_sum_by_rows(&model.transformer, x.clone(), 5))[0];
        let loss = vector(prepared.loss_sum(&model.transformer, x))[0];
        assert_close("loss five rows at a time", &[by_rows], &[loss], 1e-5, 0.0);
        let loss = loss / prepared.target_tokens as f32;
        assert_close(&format!("{} loss", case.name()), &[loss], &case.floats("loss")?, rtol, atol);
    }
    Ok(())
}

#[test]
fn every_gradient_by_name() -> Result<()> {
    forward_cases().iter().try_for_each(check_gradients)
}

fn check_gradients(case: &Case) -> Result<()> {
    for device in devices() {
        let mut model = case.load(&device)?;
        let batch = Prepared::new(&case.batch(0)?, &model.transformer, &device);
        let leaves = track_all(&mut model.transformer);
        let loss = whole_loss(&model, &batch);
        let gradients = loss.backward();
        let expected: Vec<_> = case.values.names().filter_map(|name| name.strip_prefix("grad.")).collect();
        assert_eq!(expected.len(), leaves.len(), "{}: as many gradients as parameters", case.name());
        for name in expected {
            let gradient = leaves[name].grad(&gradients).unwrap_or_else(|| panic!("{name} has a gradient"));
            let what = format!("{} {} grad.{name}", case.name(), device.facts.backend);
            let (rtol, atol) = (case.number("rtol")? as f32, case.number("atol")? as f32);
            assert_close(&what, &matrix(gradient), &case.floats(&format!("grad.{name}"))?, rtol, atol);
        }
    }
    Ok(())
}

fn whole_loss(model: &Pretrained, batch: &Prepared) -> Tensor<1> {
    let hidden = model.transformer.hidden(batch.ids.clone(), &batch.layout);
    batch.loss_sum(&model.transformer, hidden).div_scalar(batch.target_tokens as f64)
}

#[test]
fn sparse_gradients_are_the_chosen_entries_of_the_reference() -> Result<()> {
    for case in forward_cases() {
        for device in devices() {
            for density in [0.001, 0.01, 0.1, 0.5] {
                let mut model = case.load(&device)?;
                let batch = Prepared::new(&case.batch(0)?, &model.transformer, &device);
                let mut leaves = Vec::new();
                for parameter in model.transformer.parameters_mut() {
                    let count = ((density * parameter.len() as f64).round() as usize).max(1);
                    let chosen = mask::draw(11, &parameter.name, parameter.len(), count);
                    let leaf = Tensor::<1>::from_inner(device.floats(vec![0.0; count], [count])).require_grad();
                    parameter.adaptation = Some(Box::new(Sparse(leaf.clone(), device.indices(&chosen))));
                    leaves.push((parameter.name.clone(), leaf, chosen));
                }
                let gradients = whole_loss(&model, &batch).backward();
                for (name, leaf, chosen) in leaves {
                    let dense = case.floats(&format!("grad.{name}"))?;
                    let expected: Vec<f32> = chosen.iter().map(|&index| dense[index as usize]).collect();
                    let actual = vector(leaf.grad(&gradients).unwrap_or_else(|| panic!("{name} has a gradient")));
                    let what = format!("{} {} {name} at density {density}", case.name(), device.facts.backend);
                    let (rtol, atol) = (case.number("rtol")? as f32, case.number("atol")? as f32);
                    assert_close(&what, &actual, &expected, rtol, atol);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn greedy_tokens() -> Result<()> {
    cases(|info| info.get("greedy").is_some()).iter().try_for_each(check_greedy_tokens)
}

fn check_greedy_tokens(case: &Case) -> Result<()> {
    for device in devices() {
        let model = case.load(&device)?;
        let expected: Vec<u32> = case.values.indices("greedy").expect("greedy");
        let mut generation =
            Generation::new(&model.transformer, &expected[..4], Sampling::default(), &[], 0).expect("a prompt");
        let mut made = expected[..4].to_vec();
        while made.len() < expected.len() {
            made.push(block_on(generation.next()).expect("a device").expect("a token"));
        }
        assert_eq!(made, expected, "{} on {}", case.name(), device.facts.backend);
    }
    Ok(())
}
