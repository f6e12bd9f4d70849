//! What the seam of methods promises, with methods made for the purpose: shared tensors, several passes, penalties, unused
//! tensors; and DoRA's layer against the weight that it amounts to.

use std::sync::Arc;

use agoge::{
    config::{List, RunConfig},
    device::ComputeDevice,
    kernel::{self, AdamW},
    method::{
        self, Description, Method, MethodEntry, Setup, Training,
        adapter::Adapter,
        dense_gradients,
        hook::{Hook, HookedParameter, Pass},
        stack::merge_for_good,
        tensors::Tensors,
        trainable::{MethodTensor, Start},
    },
    model::{LinearCall, Pretrained},
    train::{objective::Prepared, step::optimizer_step},
};
use burn::tensor::{Int, Tensor};
use pollster::block_on;

use crate::{
    fixture::{TINY, weights},
    packed::batch,
    support::{assert_close, devices, gpu},
};

const SETTINGS: AdamW = AdamW {
    learning_rate: 1e-2,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-8,
    weight_decay: 0.1,
    correction1: 0.1,
    correction2: 0.01,
    max_norm: 1.0,
};

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

/// A layer that multiplies what it computes by its tensor, and by a number of the pass.
#[derive(Debug)]
struct Scaled;

/// The number of a pass: random, but the same for all layers; 1 in evaluation.
fn factor(pass: Pass) -> f64 {
    pass.stream("factor").map_or(1.0, |mut stream| 0.5 + stream.unit())
}

impl Hook for Scaled {
    fn linear(&self, mut layer: LinearCall<'_>, leaves: &[Tensor<2>], pass: Pass) -> Tensor<2> {
        let residual = layer.residual.take();
        let y = layer.plain() * leaves[0].clone().mul_scalar(factor(pass));
        residual.into_iter().fold(y, |y, residual| residual + y)
    }
}

#[derive(Debug)]
struct TwoPasses;

const SCALE: &str = "scale";

impl Method for TwoPasses {
    fn penalty(&self, tensors: &Tensors, _step: Pass) -> Option<Tensor<1>> {
        let scale = tensors.matrix(SCALE)?;
        Some((scale.clone() * scale).sum())
    }

    fn passes(&self) -> usize {
        2
    }

    fn loss(&self, logits: Vec<Tensor<2>>, targets: Tensor<1, Int>) -> Tensor<1> {
        let [first, second] = <[Tensor<2>; 2]>::try_from(logits).expect("the logits of two passes");
        let of = |logits| kernel::cross_entropy(logits, targets.clone()).sum();
        of(first) + of(second).mul_scalar(0.5)
    }
}

const TWO_PASSES: MethodEntry = MethodEntry {
    name: "two-passes",
    about: "",
    learning_rate: 1e-2,
    settings: &[],
    budget: None,
    describe: |_, transformer| {
        let inside = transformer.parameters().into_iter().filter(|parameter| parameter.is_linear());
        let hooked = |parameter: String| HookedParameter { parameter, hook: Arc::new(Scaled), reads: vec![0] };
        Ok(Description {
            tensors: vec![
                MethodTensor::own(SCALE.into(), [1, 1], Start::Values(vec![1.1])),
                MethodTensor::own("unused".into(), [1, 3], Start::Values(vec![1.0, -2.0, 0.0])),
            ],
            hooks: inside.map(|parameter| hooked(parameter.name.clone())).collect(),
            method: Box::new(TwoPasses),
        })
    },
    changes: |_| Ok(Vec::new()),
};

fn begun(entry: &MethodEntry, config: &RunConfig, model: &mut Pretrained, device: &ComputeDevice) -> Training {
    let config = config.method_config();
    let mut setup = Setup::new(&config, device, 3);
    block_on(method::start(entry, &mut setup, &mut model.transformer)).expect("a start")
}

fn load(device: &ComputeDevice) -> Pretrained {
    Pretrained::load(TINY.as_ref(), device).expect("a model")
}

#[test]
fn passes_penalties_and_shared_tensors_go_through_a_step() {
    for device in devices() {
        let mut model = load(&device);
        let before = weights(&model);
        let batch = batch(&model, 4);
        let stepped = [false, true].map(|gradient_checkpointing| {
            let mut training = begun(&TWO_PASSES, &RunConfig::default(), &mut model, &device);
            let trained: Vec<_> = training.trained().into_iter().map(|t| (t.name, t.shape, t.trained)).collect();
            assert_eq!(
                trained,
                [(SCALE.into(), vec![1, 1], 1), ("unused".into(), vec![1, 3], 3)],
                "shared, under its name"
            );

            // What the step should come to, from passes without gradients.
            let prepared = Prepared::new(&batch, &model.transformer, &device);
            let pass = |training: &mut Training, model: &mut Pretrained, index| {
                training.enter_untracked(&mut model.transformer, 7, index);
                let hidden = model.transformer.hidden(prepared.ids.clone(), &prepared.layout);
                values(prepared.loss_sum(&model.transformer, hidden))[0]
            };
            let [first, second] = [0, 1].map(|index| pass(&mut training, &mut model, index));
            assert_ne!(first, second, "each pass has random numbers of its own");
            let expected = (first + 0.5 * second) / prepared.target_tokens as f32 + 1.1f32.powi(2);
            training.detach(&mut model.transformer);

            let window = [batch.clone()];
            let transformer = &mut model.transformer;
            let outcome =
                optimizer_step(transformer, &mut training, &window, 7, &SETTINGS, gradient_checkpointing, &device)
                    .expect("a step");
            block_on(training.after_step(1, transformer)).expect("nothing happens");
            assert_close(&device.facts.backend, &values(outcome.loss), &[expected], 1e-5, 0.0);
            let state: Vec<_> = training.state(&model.transformer).values.into_iter().map(|(_, v)| values(v)).collect();
            // A tensor that the step did not use has a gradient of zeros: it decays, and so do its moments.
            assert_close("unused", &state[2], &[1.0 - 1e-3, -2.0 + 2e-3, 0.0], 1e-6, 0.0);
            assert!(state[3].iter().all(|&moment| moment == 0.0));
            assert!((state[0][0] - 1.1).abs() > 1e-3, "the scale moved");
            for parameter in model.transformer.parameters_mut() {
                parameter.adaptation = None;
            }
            [values(outcome.squared_norm), state.concat()].concat()
        });
        assert_close("with gradient checkpointing", &stepped[1], &stepped[0], 1e-4, 1e-6);
        assert_eq!(weights(&model), before, "the model's own weights are frozen");
    }
}

#[test]
fn dora_computes_with_the_weight_that_it_is_merged_into() {
    for device in devices() {
        // GPT-2 stores its weights the other way round, Qwen2 has biases.
        for family in ["llama-tied", "gpt2", "qwen2"] {
            let folder = std::path::Path::new(TINY).with_file_name(family);
            let mut model = Pretrained::load(&folder, &device).expect(family);
            let entry = method::find("dora").expect("a method");
            let config = RunConfig {
                lora_rank: 3,
                lora_dropout: 0.2,
                target_modules: List(vec!["all-linear".into()]),
                ..RunConfig::default()
            };
            let what = format!("{family} on {}", device.facts.backend);
            let logits = |model: &Pretrained| {
                let prepared = Prepared::new(&batch(model, 4), &model.transformer, &device);
                values(model.transformer.forward(prepared.ids.clone(), &prepared.layout))
            };
            let plain = logits(&model);
            let mut training = begun(entry, &config, &mut model, &device);
            assert_close(&format!("{what}: it starts as the model is"), &logits(&model), &plain, 1e-4, 1e-4);
            for step in 0..4 {
                let window = [batch(&model, 4)];
                let transformer = &mut model.transformer;
                optimizer_step(transformer, &mut training, &window, step, &SETTINGS, step == 2, &device)
                    .expect("a step");
            }
            let hooked = logits(&model);
            let moved = hooked.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(moved > 0.01, "{what}: it learns, {moved}");
            let out = tempfile::tempdir().expect("a folder");
            let written = method::save::write(&training, entry.name, &model, safetensors::Dtype::F32, out.path());
            block_on(written).expect("an adapter");
            let adapter = Adapter::read(out.path()).expect("an adapter");
            let mut merged = Pretrained::load(&folder, &device).expect(family);
            merge_for_good(&[(&adapter, 1.0)], &mut merged, &device).expect("it fits");
            assert_close(&format!("{what}: merged"), &logits(&merged), &hooked, 1e-3, 1e-3);
        }
    }
}

#[test]
fn dense_gradients_need_no_moments() {
    let device = gpu();
    let mut model = load(device);
    let names: Vec<String> = model.transformer.parameters().iter().map(|parameter| parameter.name.clone()).collect();
    let prepared = Prepared::new(&batch(&model, 4), &model.transformer, device);
    let (before, mut inside) = (device.memory().in_use_bytes, 0);
    let gradients = dense_gradients(&mut model.transformer, &names, |transformer| {
        inside = device.memory().in_use_bytes;
        let hidden = transformer.hidden(prepared.ids.clone(), &prepared.layout);
        prepared.loss_sum(transformer, hidden).backward()
    });
    let gradients = block_on(gradients).expect("gradients");
    assert!(gradients.iter().flatten().any(|value| *value != 0.0) && gradients.len() == names.len());
    // Two moments would be twice the weights.
    let weights = 4 * model.transformer.parameter_count() as u64;
    assert!(inside - before < weights, "{inside} bytes in use after {before}, the weights are {weights}");
    assert!(model.transformer.parameters().iter().all(|parameter| parameter.adaptation.is_none()));
}
