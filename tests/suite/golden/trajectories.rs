//! Whole training trajectories of the reference implementations: losses, gradients, ends, merged weights.

use std::collections::BTreeMap;

use agoge::{
    Result,
    config::RunConfig,
    device::ComputeDevice,
    method::{
        self, Setup, Training,
        adapter::Adapter,
        change::{Change, TensorChange},
        stack::merge_for_good,
    },
    model::{Pretrained, weights::Weights},
    train::step::optimizer_step,
};
use pollster::block_on;

use super::limits::devices;
use super::{
    case::{Case, sparse_start},
    cases, matrix, vector,
};
use crate::support::assert_close;

/// How a reference method starts: the method's name here, and the changes to start from.
pub(super) type Start = (&'static str, fn(&Case, &Pretrained) -> Vec<TensorChange>);

/// The reference methods that can be replayed.
pub(super) fn start(method: &str) -> Option<Start> {
    let entries: fn(&Case, &Pretrained) -> Vec<TensorChange> = |case, model| {
        let trained = case.trained(&model.transformer).expect("entries of the model").into_iter();
        sparse_start(trained.map(|(name, indices, _)| (name, indices)).collect(), &model.transformer)
    };
    Some(match method {
        "sparta" => ("sparta", entries),
        "full" => ("full", |_, _| Vec::new()),
        "lora" | "rslora" => ("lora", of_peft),
        "shira" => ("sparta", of_peft),
        "dora" => ("dora", of_peft),
        _ => return None,
    })
}

/// Names of a tensor's values in PEFT's runs, of the parts of a change in order.
fn names_in_peft(change: &Change) -> &'static [&'static str] {
    match change {
        Change::Sparse { .. } => &["shira_weight.default"],
        Change::LowRank { .. } => &["lora_A.default.weight", "lora_B.default.weight"],
        Change::Hook(_) => &["lora_A.default.weight", "lora_B.default.weight", "lora_magnitude_vector.default.weight"],
        Change::Replace(_) => &[],
    }
}

/// The values that a change is made of.
fn parts(change: &mut Change) -> Vec<&mut Vec<f32>> {
    match change {
        Change::Sparse { values, .. } | Change::Replace(values) => vec![values],
        Change::LowRank { a, b, .. } => vec![a, b],
        Change::Hook(change) => change.leaves.iter_mut().map(|(.., values)| values).collect(),
    }
}

/// The changes of the adapter that PEFT wrote at the end, with the values of `moment` ("start" or "end").
fn with_values_of(case: &Case, model: &Pretrained, moment: &str) -> Vec<TensorChange> {
    let adapter = Adapter::read(&case.folder.join("adapter-peft")).expect("PEFT's adapter");
    let mut changes = adapter.changes(&model.transformer).expect("changes that fit");
    changes.retain(|change| !change.change.is_empty());
    for change in &mut changes {
        let module = change.name.trim_end_matches(".weight");
        let names = names_in_peft(&change.change);
        for (values, name) in parts(&mut change.change).into_iter().zip(names) {
            let stored = case.floats(&format!("{moment}.base_model.model.{module}.{name}")).expect(name);
            assert_eq!(stored.len(), values.len(), "{module} {name}");
            *values = stored;
        }
    }
    assert!(!changes.is_empty());
    changes
}

/// As PEFT started. Sparse ones start at zero, whatever the order.
fn of_peft(case: &Case, model: &Pretrained) -> Vec<TensorChange> {
    let mut changes = with_values_of(case, model, "start");
    for change in &mut changes {
        if let Change::Sparse { values, .. } = &change.change {
            assert!(values.iter().all(|&value| value == 0.0), "{}", change.name);
        }
    }
    changes
}

/// Names of the parts of a change in our own files.
fn own_names(TensorChange { name, change, .. }: &TensorChange) -> Vec<String> {
    match change {
        Change::Sparse { .. } => vec![format!("{name}.delta")],
        Change::LowRank { .. } => vec![format!("{name}.lora_a"), format!("{name}.lora_b")],
        Change::Replace(_) => vec![name.clone()],
        Change::Hook(change) => change.leaves.iter().map(|(leaf, ..)| format!("{name}.{leaf}")).collect(),
    }
}

/// Losses, gradient norms and learning rates of all steps, and the gradients of the first, where the case has them.
fn replay(
    case: &Case,
    device: &ComputeDevice,
    model: &mut Pretrained,
    training: &mut Training,
    gradient_checkpointing: bool,
) -> Result<()> {
    let (mut losses, mut norms, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for (step, settings) in (0..).zip(case.steps()?) {
        let window = [case.batch(step as usize)?];
        let transformer = &mut model.transformer;
        let outcome = optimizer_step(transformer, training, &window, step, &settings, gradient_checkpointing, device)
            .expect("a step");
        block_on(training.after_step(step + 1, transformer)).expect("a device");
        losses.push(vector(outcome.loss)[0]);
        norms.push(vector(outcome.squared_norm)[0].sqrt());
        rates.push(settings.learning_rate);
    }
    let rtol = case.number("rtol")? as f32;
    let what = format!("{} on {}, checkpointing {gradient_checkpointing}", case.name(), device.facts.backend);
    assert_close(&format!("{what}: losses"), &losses, &case.numbers("losses")?, rtol, 0.0);
    assert_close(&format!("{what}: norms"), &norms, &case.numbers("grad_norms")?, rtol, 0.0);
    assert_close(&format!("{what}: rates"), &rates, &case.numbers("lrs")?, 1e-6, 0.0);
    Ok(())
}

/// The gradients of the first step by name, where the case has them.
fn assert_first_gradients(
    case: &Case,
    device: &ComputeDevice,
    model: &mut Pretrained,
    training: &mut Training,
) -> Result<()> {
    let wanted = with_gradients(case, model);
    if wanted.is_empty() {
        return Ok(());
    }
    let window = [case.batch(0)?];
    let prepared = agoge::train::objective::Prepared::new(&window[0], &model.transformer, device);
    training.attach(&mut model.transformer, 0);
    let hidden = model.transformer.hidden(prepared.ids.clone(), &prepared.layout);
    let loss = prepared.loss_sum(&model.transformer, hidden) / prepared.target_tokens as f64;
    training.collect(&mut loss.backward());
    training.detach(&mut model.transformer);
    let found: BTreeMap<String, Vec<f32>> = training
        .tensors()
        .gradients_by_name()
        .into_iter()
        .map(|(name, gradient)| (name.to_owned(), vector(gradient)))
        .collect();
    assert_eq!(found.len(), wanted.len(), "{}: as many gradients as the reference", case.name());
    for (name, expected) in wanted {
        let found = found.get(&name).or_else(|| found.get(name.trim_end_matches(".delta")));
        let what = format!("{} on {}: gradient of {name}", case.name(), device.facts.backend);
        assert_close(&what, found.expect(&name), &expected, case.number("rtol")? as f32, 1e-5);
    }
    Ok(())
}

/// Gradients of the reference by our own names; none where the case has none.
fn with_gradients(case: &Case, model: &Pretrained) -> Vec<(String, Vec<f32>)> {
    if !case.values.names().any(|name| name.starts_with("grad.")) || !case.folder.join("adapter-peft").exists() {
        return Vec::new();
    }
    let mut wanted = Vec::new();
    for mut change in with_values_of(case, model, "grad") {
        let names = own_names(&change);
        wanted.extend(names.into_iter().zip(parts(&mut change.change).into_iter().map(std::mem::take)));
    }
    wanted
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

/// The trained values against the reference's, where it has them in our order.
fn assert_ends(case: &Case, model: &Pretrained, training: &Training) -> Result<()> {
    let stored: BTreeMap<_, _> = training.state(&model.transformer).values.into_iter().collect();
    let mut expected: Vec<(String, Vec<f32>)> = case
        .trained(&model.transformer)?
        .into_iter()
        .map(|(name, _, deltas)| (format!("{name}.delta"), deltas))
        .collect();
    if case.folder.join("adapter-peft").exists() {
        for mut change in with_values_of(case, model, "end") {
            let names = own_names(&change);
            // PEFT's order of sparse entries is its own.
            if !matches!(change.change, Change::Sparse { .. }) {
                let values = parts(&mut change.change).into_iter().map(std::mem::take);
                expected.extend(names.into_iter().zip(values));
            }
        }
    }
    for (name, expected) in expected {
        let found = vector(stored.get(&name).unwrap_or_else(|| panic!("{name} is trained")).clone());
        assert_close(&format!("{} end of {name}", case.name()), &found, &expected, 2e-2, 2e-4);
    }
    Ok(())
}

/// What the adapter folder, as it is written and read again, makes of the original weights.
fn assert_merged(
    case: &Case,
    device: &ComputeDevice,
    model: &Pretrained,
    training: &Training,
    name: &str,
) -> Result<()> {
    let path = case.folder.join("merged.safetensors");
    let Ok(bytes) = std::fs::read(&path) else { return Ok(()) };
    let expected = Weights::from_bytes("merged", bytes)?;
    let folder = tempfile::tempdir().expect("a folder");
    block_on(method::save::write(training, name, model, safetensors::Dtype::F32, folder.path()))?;
    let adapter = Adapter::read(folder.path())?;
    let mut merged = case.load(device)?;
    merge_for_good(&[(&adapter, 1.0)], &mut merged, device)?;
    for name in expected.names() {
        let parameter = merged.transformer.parameter_mut(name).unwrap_or_else(|| panic!("{name} is a parameter"));
        let what = format!("{} on {}: merged {name}", case.name(), device.facts.backend);
        assert_close(&what, &matrix(parameter.value().dense()), &expected.floats(name)?, 5e-3, 5e-4);
    }
    Ok(())
}

/// The weights of a model, bit for bit.
fn bits(model: &Pretrained) -> Vec<Vec<u32>> {
    let of =
        |parameter: &agoge::model::Parameter| matrix(parameter.value().dense()).into_iter().map(f32::to_bits).collect();
    model.transformer.parameters().into_iter().map(of).collect()
}

#[test]
pub(super) fn trajectories_are_those_of_the_references() -> Result<()> {
    for case in cases(|info| info.get("method").is_some()) {
        let reference = case.info["method"].as_str().unwrap_or_default().to_owned();
        let (name, initial) = start(&reference).expect("supported cases have a start");
        for device in devices() {
            for gradient_checkpointing in [false, true] {
                let mut model = case.load(&device)?;
                let config = RunConfig::default().method_config();
                let mut setup = Setup::new(&config, &device, 0);
                setup.initial = initial(&case, &model);
                let before = bits(&model);
                let started = method::start(method::find(name)?, &mut setup, &mut model.transformer);
                let mut training = block_on(started).expect("a start that fits");
                if let Some(count) = case.info["trained_numbers"].as_u64() {
                    assert_eq!(training.trained_parameters() as u64, count, "{}", case.name());
                }
                assert_first_gradients(&case, &device, &mut model, &mut training)?;
                // A fresh start: the collected gradients are those of one more batch.
                let mut model = case.load(&device)?;
                setup.initial = initial(&case, &model);
                let started = method::start(method::find(name)?, &mut setup, &mut model.transformer);
                let mut training = block_on(started).expect("a start that fits");
                replay(&case, &device, &mut model, &mut training, gradient_checkpointing)?;
                assert_logits_after(&case, &device, &model)?;
                assert_ends(&case, &model, &training)?;
                assert_merged(&case, &device, &model, &training, name)?;
                if name != "full" {
                    // Without the adapter the pretrained weights are back, bit for bit.
                    training.set_applied(&mut model.transformer, false);
                    assert!(bits(&model) == before, "{}: the pretrained weights", case.name());
                    training.set_applied(&mut model.transformer, true);
                    assert_logits_after(&case, &device, &model)?;
                }
            }
        }
    }
    Ok(())
}
