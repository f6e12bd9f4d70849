//! Golden values from PyTorch, transformers and the SpaRTA authors' package: logits, loss, every gradient by name,
//! greedy tokens, and whole training trajectories, on the WGSL path and on the CPU device.
//!
//! Every case in the folder that `AGOGE_GOLDEN` names (default: `tests/golden`) is run, or listed as not supported.

pub mod case;
mod families;
mod limits;
mod published;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use agoge::{
    Result,
    config::RunConfig,
    device::ComputeDevice,
    generate::{Generation, Sampling},
    kernel::{self, Matrix},
    method::{
        self, Method, Setup, Sparta,
        adapter::Adapter,
        delta::{Delta, TensorDelta},
        mask,
    },
    model::{Adaptation, Pretrained, Role, weights::Weights},
    train::{objective::Prepared, step::optimizer_step},
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
];

/// Methods with a test of their trajectory below.
const METHODS: &[&str] = &["sparta", "full", "lora", "shira"];

fn cases(wanted: impl Fn(&Value) -> bool) -> Vec<Case> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let root = std::env::var_os("AGOGE_GOLDEN").map_or(default, PathBuf::from);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display())).flatten() {
        let folder = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(text) = std::fs::read_to_string(folder.join("case.json")) else { continue };
        let info: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        if !wanted(&info) {
            continue;
        }
        let config = agoge::model::pretrained::read_config(&folder).unwrap_or_else(|e| panic!("{e}"));
        let reason = match agoge::model::family::describe(&config) {
            Err(e) => Some(e.to_string()),
            Ok(_) if info["method"].as_str().is_some_and(|name| !METHODS.contains(&name)) => Some("method".into()),
            Ok(_) => None,
        };
        if let Some(reason) = reason {
            say(&format!("golden case not supported yet: {name} ({reason})"));
            assert!(!SUPPORTED.contains(&name.as_str()), "{name} was supported before: {reason}");
            continue;
        }
        found.push(Case::open(&folder).unwrap_or_else(|e| panic!("{e}")));
    }
    found
}

fn forward_cases() -> Vec<Case> {
    cases(|info| info.get("task").is_some())
}

fn trajectories(method: &str) -> Vec<Case> {
    cases(|info| info["method"] == method)
}

fn vector(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

fn matrix(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

/// Tracks some entries of the tensor, with the sparse layers.
#[derive(Debug)]
struct Sparse(Tensor<1>, Tensor<1, Int>, bool);

impl Adaptation for Sparse {
    fn linear(&self, x: Tensor<2>, weight: &Matrix, bias: Option<Tensor<2>>) -> Tensor<2> {
        kernel::sparse_linear(x, weight, self.0.clone(), self.1.clone(), bias, self.2)
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
                    parameter.adaptation =
                        Some(Box::new(Sparse(leaf.clone(), device.indices(&chosen), parameter.transposed())));
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

/// Losses, gradient norms and learning rates of the 20 steps.
fn replay(
    case: &Case,
    device: &ComputeDevice,
    model: &mut Pretrained,
    method: &mut dyn Method,
    recompute: bool,
) -> Result<()> {
    let (mut losses, mut norms, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for (step, settings) in (0..).zip(case.steps()?) {
        let batch = case.batch(step as usize)?;
        let outcome = optimizer_step(&mut model.transformer, method, &[batch], step, &settings, recompute, device)
            .expect("a step");
        losses.push(vector(outcome.loss)[0]);
        norms.push(vector(outcome.squared_norm)[0].sqrt());
        rates.push(settings.learning_rate);
    }
    let rtol = case.number("rtol")? as f32;
    let what = format!("{} on {}, recompute {recompute}", case.name(), device.facts.backend);
    assert_close(&format!("{what}: losses"), &losses, &case.numbers("losses")?, rtol, 0.0);
    assert_close(&format!("{what}: norms"), &norms, &case.numbers("grad_norms")?, rtol, 0.0);
    assert_close(&format!("{what}: rates"), &rates, &case.numbers("lrs")?, 1e-6, 0.0);
    Ok(())
}

fn assert_logits_after(case: &Case, device: &ComputeDevice, model: &Pretrained) -> Result<()> {
    let after = std::fs::read(case.folder.join("after.safetensors")).expect("after.safetensors");
    let expected = Weights::from_bytes("after", after).expect("after").floats("logits").expect("logits");
    let batch = case.batch(0)?;
    let layout = model.transformer.layout(batch.row_count, batch.width, Some(&batch.attention_mask), &[]);
    let logits = matrix(model.transformer.forward(device.integers(batch.ids), &layout));
    assert_close(&format!("{} logits after", case.name()), &logits, &expected, 5e-3, 5e-3);
    Ok(())
}

#[test]
fn sparta_trajectory() -> Result<()> {
    for case in trajectories("sparta") {
        for device in devices() {
            for recompute in [false, true] {
                let mut model = case.load(&device)?;
                let trained = case.trained(&model.transformer)?;
                let masks = trained.iter().map(|(name, indices, _)| (name.clone(), indices.clone())).collect();
                let expected: BTreeMap<_, _> = trained.into_iter().map(|(name, _, deltas)| (name, deltas)).collect();
                let mut sparta = Sparta::with_indices(masks, &mut model.transformer, &device).expect("masks that fit");
                let before: Rc<RefCell<Vec<Vec<f32>>>> = Rc::default();
                for parameter in model.transformer.parameters() {
                    before.borrow_mut().push(matrix(parameter.value().dense()));
                }
                replay(&case, &device, &mut model, &mut sparta, recompute)?;
                for (name, values) in sparta.state(&model.transformer).values {
                    if let Some(name) = name.strip_suffix(".delta") {
                        let what = format!("{} {name} deltas", case.name());
                        assert_close(&what, &vector(values), &expected[name], 2e-2, 2e-4);
                    }
                }
                assert_logits_after(&case, &device, &model)?;

                // Taking the adapter off gives back the pretrained weights bit for bit.
                sparta.set_applied(&mut model.transformer, false);
                for (parameter, before) in model.transformer.parameters().iter().zip(&*before.borrow()) {
                    let now = matrix(parameter.value().dense());
                    assert!(now.iter().zip(before).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", parameter.name);
                }
                sparta.set_applied(&mut model.transformer, true);
                assert_logits_after(&case, &device, &model)?;
            }
        }
    }
    Ok(())
}

/// Goes on from the changes `start` and compares every step with the reference.
fn continued(case: &Case, name: &str, start: impl Fn(&Pretrained) -> Vec<TensorDelta>) -> Result<()> {
    for device in devices() {
        for recompute in [false, true] {
            let mut model = case.load(&device)?;
            let config = RunConfig { method: name.into(), ..RunConfig::default() }.method_config();
            let entry = method::find(name).expect("a method");
            let mut setup = Setup::new(&config, &device, 0);
            setup.initial = start(&model);
            let started = method::start(entry, &mut setup, &mut model.transformer);
            let mut method = block_on(started).expect("a start that fits");
            replay(case, &device, &mut model, &mut *method, recompute)?;
            assert_logits_after(case, &device, &model)?;
        }
    }
    Ok(())
}

#[test]
fn lora_trajectory() -> Result<()> {
    for case in trajectories("lora") {
        continued(&case, "lora", |model| {
            let mut start = Vec::new();
            for parameter in model.transformer.parameters() {
                let module = parameter.name.trim_end_matches(".weight");
                let stored = |factor| format!("start.base_model.model.{module}.lora_{factor}.default.weight");
                let Some(dims) = case.values.dims(&stored("A")) else { continue };
                let (a, b) = (case.floats(&stored("A")).expect("A"), case.floats(&stored("B")).expect("B"));
                // alpha 8 over rank 4
                let delta = Delta::LowRank { rank: dims[0], a, b, scale: 2.0 };
                start.push(TensorDelta { name: parameter.name.clone(), shape: parameter.dims.clone(), delta });
            }
            assert_eq!(start.len(), 6);
            start
        })?;
    }
    Ok(())
}

#[test]
fn shira_trajectory() -> Result<()> {
    for case in trajectories("shira") {
        let adapter = Adapter::read(&case.folder.join("adapter-peft")).expect("PEFT's adapter");
        continued(&case, "sparta", |model| {
            let mut start = adapter.deltas(&model.transformer).expect("deltas that fit");
            start.retain(|change| matches!(&change.delta, Delta::Sparse { indices, .. } if !indices.is_empty()));
            for change in &mut start {
                let module = change.name.trim_end_matches(".weight");
                let values =
                    case.floats(&format!("start.base_model.model.{module}.shira_weight.default")).expect("a start");
                assert!(values.iter().all(|&value| value == 0.0), "SHiRA starts at zero, whatever the order");
                let Delta::Sparse { values: deltas, .. } = &mut change.delta else { continue };
                *deltas = values;
            }
            assert_eq!(start.len(), 4);
            start
        })?;
    }
    Ok(())
}

#[test]
fn full_trajectory() -> Result<()> {
    for case in trajectories("full") {
        for device in devices() {
            for recompute in [false, true] {
                let mut model = case.load(&device)?;
                let config = RunConfig { method: "full".into(), ..RunConfig::default() }.method_config();
                let entry = method::find("full").expect("full");
                let mut setup = Setup::new(&config, &device, 0);
                let mut full = block_on(method::start(entry, &mut setup, &mut model.transformer)).expect("full");
                let trained: usize = full.trained().iter().map(|tensor| tensor.trained).sum();
                assert_eq!(trained, model.transformer.parameter_count());
                assert!(model.transformer.parameters().iter().any(|p| p.role == Role::Norm));
                replay(&case, &device, &mut model, &mut *full, recompute)?;
                assert_logits_after(&case, &device, &model)?;
            }
        }
    }
    Ok(())
}
