//! What a step costs besides its arithmetic: memory that a steady run takes, and logits that never all exist.

use agoge::{
    config::{List, RunConfig},
    data::Batch,
    device::ComputeDevice,
    kernel::AdamW,
    method::{self, Setup},
    model::{Pretrained, classifier::Purpose},
    train::{objective::Prepared, step::optimizer_step},
};
use pollster::block_on;
use serde_json::Value;

use crate::{
    fixture::{TestFolder, program},
    support::{assert_close, devices, gpu},
};

#[test]
fn two_hundred_steps_take_no_new_memory_from_the_device() {
    gpu();
    for method in ["sparta", "lora", "full"] {
        let arguments = ["bench", "speed", "--json", "--device", "gpu", "--method", method, "--batch-size", "2"];
        let output = program(&[&arguments[..], &["--max-seq-length", "16", "--steps", "200"]].concat()).output();
        let output = output.expect("the program");
        assert!(output.status.success(), "{method}: {}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(told["warm_reserved_bytes"].as_u64() > Some(0), "{told}");
        assert_eq!(told["warm_reserved_bytes"], told["reserved_bytes"], "{told}");
    }
}

#[test]
fn methods_are_measured_beside_each_other() {
    let arguments = ["bench", "methods", "--json", "--device", "cpu", "--sizes", "576", "--layers", "1"];
    let output = program(&[&arguments[..], &["--repetitions", "1"]].concat()).output().expect("the program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = told["rows"].as_array().expect("rows");
    let figure = |row: usize, name: &str| rows[row][name].as_f64().unwrap_or_else(|| panic!("{name} of {told}"));
    for (row, method) in ["sparta", "lora", "full"].iter().enumerate() {
        assert_eq!(rows[row]["method"], *method);
        let ratio = figure(row, "shortest_step_secs") / figure(2, "shortest_step_secs");
        assert!(ratio > 0.0 && (figure(row, "of_full") / ratio - 1.0).abs() < 1e-6, "{told}");
    }
    // The ranks are whole numbers: at this size they come within a quarter.
    assert!((figure(0, "trained") / figure(1, "trained") - 1.0).abs() < 0.25, "{told}");
    let output = program(&["bench", "methods", "--device", "cpu", "--sizes", "500"]).output().expect("the program");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("there are models of width"), "{error}");
}

/// A model whose vocabulary is so large that the logits of a batch do not fit one tensor.
const WIDE: &str = r#"{
    "model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 120000, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "hidden_act": "silu", "initializer_range": 0.5, "bos_token_id": 0, "eos_token_id": 0,
    "tie_word_embeddings": TIED
}"#;

const SETTINGS: AdamW = AdamW {
    learning_rate: 1e-3,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-8,
    weight_decay: 0.0,
    correction1: 0.1,
    correction2: 0.01,
    max_norm: 1.0,
};

fn batch() -> Batch {
    Batch::full((0..5 * 40).map(|at| at * 7919 % 120_000).collect(), 40)
}

/// Loss and squared gradient norm of one step.
fn step(folder: &std::path::Path, config: &RunConfig, in_pieces: bool, device: &ComputeDevice) -> [f32; 2] {
    let mut base = Pretrained::random(folder, 3, Purpose::LanguageModel, device).expect("a model");
    let method_config = config.method_config();
    let entry = method::find(&config.method).expect("a method");
    let mut setup = Setup::new(&method_config, device, 5);
    let mut method = block_on(method::start(entry, &mut setup, &mut base.transformer)).expect("it");
    let number = |tensor: burn::tensor::Tensor<1>| tensor.into_data().iter::<f32>().next().expect("a number");
    if in_pieces {
        let window = [batch()];
        let outcome = optimizer_step(&mut base.transformer, &mut method, &window, 0, &SETTINGS, false, device);
        let outcome = outcome.expect("a step");
        return [number(outcome.loss), number(outcome.squared_norm)];
    }
    let prepared = Prepared::new(&batch(), &base.transformer, device);
    method.attach(&mut base.transformer, 0);
    let hidden = base.transformer.hidden(prepared.ids.clone(), &prepared.layout);
    let loss = prepared.loss_sum_by_rows(&base.transformer, hidden, usize::MAX) / prepared.target_tokens as f64;
    method.collect(&mut loss.backward());
    method.detach(&mut base.transformer);
    let norm = method.update(&mut base.transformer, &SETTINGS).expect("gradients");
    [number(loss.inner()), number(norm)]
}

#[test]
fn a_head_that_goes_there_and_back_in_pieces_gives_the_same_step() {
    for tied in [true, false] {
        let place = TestFolder::new();
        place.write("config.json", &WIDE.replace("TIED", &tied.to_string()));
        let folder = place.path("");
        for device in devices() {
            for (method, targets) in [("sparta", "all-linear,embed,lm_head"), ("lora", "all-linear"), ("full", "")] {
                let targets = targets.split(',').filter(|name| !name.is_empty() && (!tied || *name != "lm_head"));
                let config = RunConfig {
                    method: method.into(),
                    density: 0.1,
                    lora_rank: 2,
                    target_modules: List(targets.map(str::to_owned).collect()),
                    ..RunConfig::default()
                };
                let [pieces, whole] = [true, false].map(|in_pieces| step(&folder, &config, in_pieces, &device));
                let what = format!("{method} on {}, tied: {tied}", device.facts.backend);
                assert_close(&what, &pieces, &whole, 1e-4, 0.0);
            }
        }
    }
}

#[test]
fn a_step_copies_nothing_that_it_writes_in_place() {
    let place = TestFolder::new();
    place.write("config.json", &WIDE.replace("TIED", "false"));
    let folder = place.path("");
    for method in ["sparta", "lora", "full"] {
        let config = RunConfig { method: method.into(), density: 0.1, lora_rank: 2, ..RunConfig::default() };
        let before = agoge::kernel::copies_before_writing();
        step(&folder, &config, true, gpu());
        assert_eq!(agoge::kernel::copies_before_writing(), before, "{method}");
    }
}
