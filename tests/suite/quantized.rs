//! Models whose linear layers are quantized: the same numbers in f32 are the reference, on the CPU device and beside it.

use std::collections::BTreeMap;

use agoge::{
    config::{Quantize, RunConfig},
    device::ComputeDevice,
    kernel::{AdamW, Matrix, Packing},
    method::{self, Setup, Training, adapter::Adapter, change::Change, switch::SwitchableAdapters},
    model::{Keeping, Parameter, Pretrained, classifier::Purpose, weights::Weights},
    train::{objective::Prepared, step::optimizer_step},
};
use burn::tensor::Tensor;
use pollster::block_on;
use serde_json::Value;

use crate::{
    fixture::{TINY, TestFolder, agoge, drive, read_text, start, text, weights},
    packed::batch,
    support::{assert_close, gpu},
};

const LINEAR: &str = "model.layers.0.self_attn.q_proj.weight";

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

fn load(family: &str, packing: Packing, device: &ComputeDevice) -> Pretrained {
    let folder = std::path::Path::new(TINY).with_file_name(family);
    let keeping = Keeping { quantized: Some(packing), ..Keeping::AS_STORED };
    Pretrained::load_as(&folder, Purpose::LanguageModel, keeping, device).expect("a model")
}

/// The quantized model, and the same numbers in f32, on a GPU.
fn pair(family: &str, packing: Packing) -> [Pretrained; 2] {
    let (quantized, mut plain) = (load(family, packing, gpu()), load(family, packing, gpu()));
    plain.transformer.parameters_mut().into_iter().for_each(Parameter::make_dense);
    [quantized, plain]
}

fn logits(model: &Pretrained, device: &ComputeDevice) -> Vec<f32> {
    let prepared = Prepared::new(&batch(model, 5), &model.transformer, device);
    let hidden = model.transformer.hidden(prepared.ids.clone(), &prepared.layout);
    values(prepared.logits(&model.transformer, hidden))
}

#[test]
fn linear_layers_with_rows_of_whole_groups_are_quantized() {
    let model = load("llama-tied", Packing::Q4, gpu());
    for parameter in model.transformer.parameters() {
        let whole = parameter.is_linear() && parameter.dims[1] % 32 == 0;
        assert_eq!(parameter.value().packing(), whole.then_some(Packing::Q4), "{}", parameter.name);
    }
    let plain = Weights::open(TINY.as_ref()).expect("weights").floats(LINEAR).expect("floats");
    assert_eq!(weights(&model)[LINEAR], Packing::Q4.rounded(&plain).iter().map(|v| v.to_bits()).collect::<Vec<_>>());
}

#[test]
fn outputs_are_those_of_the_same_numbers_in_f32() {
    for (family, packing) in [("llama-tied", Packing::Q8), ("llama-tied", Packing::Q4), ("gpt2", Packing::Q8)] {
        let [quantized, plain] = pair(family, packing);
        let expected = logits(&plain, gpu());
        assert_close(&format!("{family} {packing:?}"), &logits(&quantized, gpu()), &expected, 2e-4, 2e-4);
        let cpu = ComputeDevice::cpu();
        let on_cpu = logits(&load(family, packing, &cpu), &cpu);
        assert_close(&format!("{family} {packing:?} on the CPU device"), &on_cpu, &expected, 1e-3, 1e-3);
    }
}

fn settings(step: i32) -> AdamW {
    AdamW {
        learning_rate: 3e-3,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.0,
        correction1: 1.0 - 0.9f32.powi(step),
        correction2: 1.0 - 0.99f32.powi(step),
        max_norm: 1.0,
    }
}

/// Losses of some steps, and the logits that the method leaves.
fn trained(model: &mut Pretrained, name: &str) -> (Vec<f32>, Vec<f32>, Training) {
    let target_modules = agoge::config::List(vec!["all-linear".to_owned()]);
    let config = RunConfig { lora_rank: 4, density: 0.2, target_modules, ..RunConfig::default() }.method_config();
    let entry = method::find(name).expect("a method");
    let mut setup = Setup::new(&config, gpu(), 3);
    let mut method = block_on(method::start(entry, &mut setup, &mut model.transformer)).expect("a start");
    let batch = batch(model, 4);
    let losses = (1..=6)
        .map(|t| {
            let step = settings(t as i32);
            let checkpointing = t % 2 == 0;
            let outcome = optimizer_step(
                &mut model.transformer,
                &mut method,
                std::slice::from_ref(&batch),
                t,
                &step,
                checkpointing,
                gpu(),
            );
            values(outcome.expect("a step").loss)[0]
        })
        .collect();
    let logits = logits(model, gpu());
    (losses, logits, method)
}

#[test]
fn methods_train_on_quantized_weights() {
    for (name, packing) in
        [("sparta", Packing::Q8), ("sparta", Packing::Q4), ("lora", Packing::Q4), ("dora", Packing::Q8)]
    {
        let [mut quantized, mut plain] = pair("llama-tied", packing);
        let before = weights(&quantized);
        let (losses, outputs, _method) = trained(&mut quantized, name);
        let (expected_losses, expected_outputs, _method) = trained(&mut plain, name);
        let what = format!("{name} on {packing:?}");
        assert!(losses[5] < losses[0], "{what}: it learns, {losses:?}");
        assert_close(&format!("{what}: losses"), &losses, &expected_losses, 1e-3, 1e-4);
        assert_close(&format!("{what}: logits"), &outputs, &expected_outputs, 2e-2, 2e-2);
        // Quantized weights themselves never change.
        let quantized_names = quantized.transformer.parameters().into_iter().filter(|p| p.value().is_quantized());
        let after = weights(&quantized);
        assert!(quantized_names.map(|p| &p.name).all(|name| before[name] == after[name]), "{what}");
    }
}

#[test]
fn a_quantized_run_makes_an_adapter_for_quantized_weights() {
    let place = TestFolder::new();
    let common = RunConfig { quantize: Quantize::Q8, density: 0.2, steps: 6, ..place.config("quantized") };
    let config = RunConfig { target_modules: agoge::config::List(vec!["all-linear".into()]), ..common };
    let mut run = start(&config, gpu(), false);
    let events = drive(&mut run, None);
    let evaluated = crate::fixture::evaluations(&events);
    let told: Value = serde_json::from_str(&read_text(&config.out.join("adapter.json"))).expect("JSON");
    assert_eq!(told["quantized"], "q8");

    // Resumed, it has the same loss to start from.
    let resumed = RunConfig { steps: 8, ..run.config().clone() };
    drop(run);
    let mut run = start(&resumed, gpu(), true);
    let again = drive(&mut run, None);
    drop(run);
    assert!(crate::fixture::evaluations(&again).len() == 1 && evaluated.len() > 1);

    // The adapter goes onto quantized weights and comes off again without a trace.
    let adapter = Adapter::read(&config.out).expect("an adapter");
    let mut model = load_from(&config, gpu());
    let (before, bare) = (weights(&model), logits(&model, gpu()));
    let mut adapters = SwitchableAdapters::apply(
        vec![(Adapter::read(&config.out).expect("an adapter"), 1.0)],
        &mut model,
        gpu().clone(),
    )
    .expect("its own model");
    assert_ne!(logits(&model, gpu()), bare);
    adapters.toggle(&mut model).expect("off");
    assert_eq!(weights(&model), before);
    assert!(model.transformer.parameters().iter().any(|p| p.value().is_quantized()));

    // Merged, each number is the quantized one plus the change.
    let merged = place.path("merged");
    let arguments = ["merge", "--device", "cpu", "--model", text(&config.model), "--adapter", text(&config.out)];
    agoge(&[&arguments[..], &["--out", text(&merged)]].concat());
    let (result, plain) = (Weights::open(&merged).expect("merged"), Weights::open(&config.model).expect("a model"));
    let changes: BTreeMap<String, Change> = adapter
        .changes(&model.transformer)
        .expect("deltas")
        .into_iter()
        .map(|change| (change.name, change.change))
        .collect();
    let mut expected = Packing::Q8.rounded(&plain.floats(LINEAR).expect("floats"));
    let Change::Sparse { indices, values } = &changes[LINEAR] else { panic!("a sparse change") };
    indices.iter().zip(values).for_each(|(&index, value)| expected[index as usize] += value);
    assert_eq!(result.floats(LINEAR).expect("floats"), expected);
}

fn load_from(config: &RunConfig, device: &ComputeDevice) -> Pretrained {
    let keeping = Keeping { quantized: Some(Packing::Q8), ..Keeping::AS_STORED };
    Pretrained::load_as(&config.model, Purpose::LanguageModel, keeping, device).expect("a model")
}

#[test]
fn dense_numbers_of_quantized_matrices_are_those_of_the_twin() {
    let model = load("llama-tied", Packing::Q8, gpu());
    for parameter in model.transformer.parameters() {
        if let Matrix::Packed(packed) = parameter.value() {
            assert_eq!(values(parameter.value().dense()), packed.values(), "{}", parameter.name);
        }
    }
}
