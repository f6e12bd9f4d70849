//! Adapters and checkpoints of models: what is trained, what is stored, and that it comes back as the same weights.

use std::{collections::BTreeMap, path::Path};

use agoge::{
    config::{AdapterDtype, Init, RunConfig},
    device::ComputeDevice,
    event::{Event, TrainedTensor},
    method::{adapter::Adapter, mask},
    model::{Pretrained, Role, classifier::Purpose, save},
    train::Run,
};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

use crate::{
    fixture::{
        TINY, TestFolder, adapter_tensors, agoge, evaluations, names, read, read_text, start, text, train, weights,
    },
    support::{assert_close, devices},
};

type Bits = BTreeMap<String, Vec<u32>>;

fn load(folder: &Path, device: &ComputeDevice) -> Pretrained {
    Pretrained::load(folder, device).expect("a model")
}

/// The weights of `model` with the adapter of `out`.
fn applied(model: &Path, out: &Path, device: &ComputeDevice) -> Pretrained {
    let mut base = load(model, device);
    Adapter::read(out).expect("an adapter").apply(&mut base, device).expect("its own model");
    base
}

fn logits(model: &Pretrained, device: &ComputeDevice) -> Vec<f32> {
    let ids: Vec<i32> = (0..48).map(|at| at * at % 67).collect();
    let layout = model.transformer.layout(2, 24, None, &[]);
    model.transformer.forward(device.integers(ids), &layout).into_data().try_into_vec().expect("f32")
}

/// Positions at which two sets of weights differ, by name; tensors without a difference are left out.
fn changed(before: &Bits, after: &Bits) -> BTreeMap<String, Vec<usize>> {
    assert!(before.keys().eq(after.keys()));
    let differing = |(name, before): (&String, &Vec<u32>)| {
        let at: Vec<usize> = (0..before.len()).filter(|&at| before[at] != after[name][at]).collect();
        (!at.is_empty()).then(|| (name.clone(), at))
    };
    before.iter().filter_map(differing).collect()
}

/// `model.safetensors` of `from` with every tensor stored as `dtype`, under `to` and in `files` files.
fn store_as(from: &Path, to: &Path, dtype: Dtype, files: usize) {
    std::fs::create_dir_all(to).expect("a folder");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).expect(name);
        }
    }
    let bytes = read(&from.join("model.safetensors"));
    let whole = SafeTensors::deserialize(&bytes).expect("a whole file");
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = whole
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let values: Vec<f32> =
                view.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().expect("4"))).collect();
            (name, view.shape().to_vec(), save::cast(&values, dtype).expect("a float"))
        })
        .collect();
    let file = |index: usize| match files {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{files:05}.safetensors", index + 1),
    };
    for index in 0..files {
        let part = tensors.iter().enumerate().filter(|(at, _)| at % files == index);
        let views = part.map(|(_, (name, dims, bytes))| {
            (name.clone(), TensorView::new(dtype, dims.clone(), bytes).expect("a tensor"))
        });
        std::fs::write(to.join(file(index)), safetensors::serialize(views, None).expect("bytes")).expect("a file");
    }
    if files > 1 {
        let map: BTreeMap<_, _> =
            tensors.iter().enumerate().map(|(at, (name, ..))| (name.clone(), file(at % files))).collect();
        let index = serde_json::json!({"metadata": {"total_size": 0}, "weight_map": map});
        std::fs::write(to.join("model.safetensors.index.json"), index.to_string()).expect("the index");
    }
}

#[test]
fn compact_and_explicit_adapters_are_the_weights_of_the_run() {
    for device in devices() {
        let place = TestFolder::new();
        // Without validation data the folder holds the last adapter, so it must equal the model of the run.
        let data = place.path("data/train.jsonl");
        std::fs::remove_file(place.path("data/valid.jsonl")).expect("a file");
        let go = |out: &str, change: &dyn Fn(&mut RunConfig)| {
            let mut config = RunConfig { data: data.clone(), ..place.config(out) };
            change(&mut config);
            let (run, _) = train(&config, &device);
            let applied = applied(&config.model, &config.out, &device);
            (weights(&run.inputs().base), weights(&applied), config.out)
        };
        let (trained, compact, compact_out) = go("compact", &|_| {});
        let (again, explicit, explicit_out) = go("explicit", &|config| config.explicit_indices = true);
        assert!(trained == again && compact == trained && explicit == trained, "{}", device.facts.backend);
        assert!(adapter_tensors(&compact_out).names().all(|name| name.ends_with(".delta")));
        let size = |out: &Path| read(&out.join("adapter.safetensors")).len();
        assert!(size(&explicit_out) > size(&compact_out) * 3 / 2);

        let (_, half, half_out) = go("half", &|config| config.adapter_dtype = AdapterDtype::F16);
        assert_eq!(Adapter::read(&half_out).expect("an adapter").info.dtype, "f16");
        let (exact, stored) = (adapter_tensors(&compact_out), adapter_tensors(&half_out));
        for name in exact.names() {
            let rounded: Vec<f32> =
                exact.floats(name).expect("deltas").iter().map(|&delta| f16::from_f32(delta).to_f32()).collect();
            assert_eq!(stored.dtype(name), Some(Dtype::F16));
            assert_eq!(stored.floats(name).expect("deltas"), rounded, "{name}");
        }
        let floats = |bits: &Bits| bits.values().flatten().map(|&bits| f32::from_bits(bits)).collect::<Vec<_>>();
        assert_close("weights with f16 deltas", &floats(&half), &floats(&trained), 0.0, 2e-5);

        let (full, applied, _) = go("full", &|config| config.method = "full".into());
        assert!(full == applied, "{}: the adapter of a full run", device.facts.backend);
    }
}

#[test]
fn the_program_evaluates_and_merges_what_the_run_reported() {
    let place = TestFolder::new();
    let device = ComputeDevice::cpu();
    let config = place.config("out");
    let (_, events) = train(&config, &device);
    let Some(Event::Finished { best_eval: Some((best, _)), .. }) = events.last() else { panic!("no evaluation") };
    let judge = |more: &[&str]| {
        let data = place.path("data");
        let mut arguments = vec!["evaluate", "--device", "cpu", "--batch-size", "4", "--json", "--data", text(&data)];
        arguments.extend(more);
        let said: Value = serde_json::from_slice(&agoge(&arguments).stdout).expect("JSON");
        said["loss"].as_f64().expect("a loss")
    };
    let (model, out, merged) = (place.path("model"), place.path("out"), place.path("merged"));
    let with_adapter = judge(&["--model", text(&model), "--adapter", text(&out)]);
    assert!((with_adapter - best).abs() < 1e-9, "{with_adapter} {best}");
    let without = judge(&["--model", text(&model)]);
    assert!((without - evaluations(&events)[0].1).abs() < 1e-9 && without > best + 0.05, "{without} {best}");

    agoge(&["merge", "--device", "cpu", "--model", text(&model), "--adapter", text(&out), "--out", text(&merged)]);
    assert!((judge(&["--model", text(&merged)]) - best).abs() < 1e-9);
    let expected = applied(&model, &out, &device);
    let whole = load(&merged, &device);
    assert!(weights(&whole) == weights(&expected));
    assert!(logits(&whole, &device) == logits(&expected, &device), "f32 weights are merged exactly");
    assert!(merged.join("tokenizer.json").exists());
}

#[test]
fn merging_keeps_the_storage_type() {
    let device = ComputeDevice::cpu();
    for (dtype, name) in [(Dtype::BF16, "bfloat16"), (Dtype::F16, "float16")] {
        let place = TestFolder::new();
        let (model, merged) = (place.path("half"), place.path("merged"));
        store_as(&place.path("model"), &model, dtype, 1);
        let config = RunConfig { model: model.clone(), ..place.config("out") };
        train(&config, &device);
        let expected = applied(&model, &config.out, &device);
        assert_eq!(expected.dtype, dtype);
        let folders = ["--model", text(&model), "--adapter", text(&config.out), "--out", text(&merged)];
        agoge(&[&["merge", "--device", "cpu"], &folders[..]].concat());

        let whole = load(&merged, &device);
        assert_eq!(whole.dtype, dtype);
        let config: Value = serde_json::from_str(&read_text(&merged.join("config.json"))).expect("JSON");
        assert_eq!(config["dtype"], name);
        let round = |bits: u32| match dtype {
            Dtype::F16 => f16::from_f32(f32::from_bits(bits)).to_f32().to_bits(),
            _ => bf16::from_f32(f32::from_bits(bits)).to_f32().to_bits(),
        };
        let rounded: Bits =
            weights(&expected).into_iter().map(|(name, bits)| (name, bits.into_iter().map(round).collect())).collect();
        assert!(weights(&whole) == rounded, "base + delta in f32, rounded once to {name}");
    }
}

#[test]
fn checkpoints_load_in_every_storage_type_and_in_several_files() {
    let place = TestFolder::new();
    let device = ComputeDevice::cpu();
    let single = load(Path::new(TINY), &device);
    store_as(Path::new(TINY), &place.path("sharded"), Dtype::F32, 3);
    assert!(!place.path("sharded/model.safetensors").exists());
    let sharded = load(&place.path("sharded"), &device);
    assert!(weights(&sharded) == weights(&single));
    assert_eq!(sharded.fingerprint, single.fingerprint, "an adapter does not care how its base is stored in files");
    for (dtype, exact_bits) in [(Dtype::F16, 11), (Dtype::BF16, 8)] {
        let folder = place.path(&format!("{dtype:?}"));
        store_as(Path::new(TINY), &folder, dtype, 2);
        let half = load(&folder, &device);
        assert_eq!(half.dtype, dtype);
        assert_ne!(half.fingerprint, single.fingerprint);
        let floats = |model| weights(model).into_values().flatten().map(f32::from_bits).collect::<Vec<_>>();
        let (actual, expected) = (floats(&half), floats(&single));
        assert_close(&format!("{dtype:?}"), &actual, &expected, 0.5f32.powi(exact_bits), 1e-7);
        assert!(actual != expected);
    }
}

/// Starts a run, asks what it would train, and takes no step.
fn planned(place: &TestFolder, change: impl Fn(&mut RunConfig)) -> (Run, Vec<TrainedTensor>) {
    let mut config = RunConfig { density: 0.0, ..place.config("") };
    config.out = Default::default();
    change(&mut config);
    let run = start(&config, &ComputeDevice::cpu(), false);
    let trained = run.training().trained();
    (run, trained)
}

#[test]
fn sparsity_counts_numbers_of_the_whole_model() {
    let place = TestFolder::new();
    for sparsity in [0.9999, 0.999, 0.99, 0.95, 0.9, 0.5, 0.2] {
        let (run, trained) = planned(&place, |config| config.sparsity = sparsity);
        let total = run.inputs().base.transformer.parameter_count();
        assert_eq!(total, 17_664);
        let sum: usize = trained.iter().map(|tensor| tensor.trained).sum();
        assert_eq!(sum, ((1.0 - sparsity) * total as f64).round() as usize, "at sparsity {sparsity}");
        // Every linear weight gets its share, to within one number.
        let share = sum as f64 / 15_360.0;
        for tensor in &trained {
            let len = tensor.shape.iter().product::<usize>() as f64;
            assert!((tensor.trained as f64 - share * len).abs() <= 1.0, "{tensor:?} at sparsity {sparsity}");
        }
    }
    for density in [0.01, 0.3, 1.0] {
        let (_, trained) = planned(&place, |config| config.density = density);
        assert_eq!(trained.len(), 14, "seven linear weights in each of two layers");
        for tensor in trained {
            let len: usize = tensor.shape.iter().product();
            assert_eq!(tensor.trained, (density * len as f64).round() as usize, "{}", tensor.name);
        }
    }
}

#[test]
fn names_choose_what_is_trained() {
    let place = TestFolder::new();
    let listed = |change: &dyn Fn(&mut RunConfig)| {
        let (run, trained) = planned(&place, |config| {
            (config.density, config.target_modules) = (0.5, names(&[]));
            change(config);
        });
        let roles: BTreeMap<_, _> =
            run.inputs().base.transformer.parameters().iter().map(|p| (p.name.clone(), p.role)).collect();
        (trained.into_iter().map(|tensor| tensor.name).collect::<Vec<_>>(), roles)
    };
    let (default, roles) = listed(&|_| {});
    assert_eq!(default.len(), 4);
    assert!(default.iter().all(|name| name.contains("v_proj") || name.contains("o_proj")), "{default:?}");
    let (rest, _) = listed(&|config| config.frozen_modules = names(&["embed_tokens", "layers.1."]));
    let expected: Vec<_> =
        roles.keys().filter(|name| !name.contains("embed_tokens") && !name.contains("layers.1.")).collect();
    assert_eq!(rest.iter().collect::<std::collections::BTreeSet<_>>(), expected.into_iter().collect());
    let (less, _) = listed(&|config| {
        (config.target_modules, config.frozen_modules) = (names(&["all-linear"]), names(&["mlp", "layers.0.*q_proj"]));
    });
    assert_eq!(less.len(), 7, "{less:?}");
}

#[test]
fn exactly_the_chosen_numbers_change() {
    for device in devices() {
        let place = TestFolder::new();
        let before = weights(&load(&place.path("model"), &device));
        let go = |out: &str, change: &dyn Fn(&mut RunConfig)| {
            let mut config = place.config(out);
            change(&mut config);
            let (run, _) = train(&config, &device);
            (changed(&before, &weights(&run.inputs().base)), run.training().trained())
        };

        // Three rows of the embedding table and nothing else: sparsity allows exactly 3 * 32 numbers.
        let (rows, trained) = go("rows", &|config| {
            config.density = 0.0;
            config.sparsity = 1.0 - 96.0 / 17_664.0;
            config.trainable_tokens = agoge::config::List(vec![40, 5, 17]);
        });
        let expected: Vec<usize> = [5, 17, 40].iter().flat_map(|row| row * 32..(row + 1) * 32).collect();
        assert_eq!(trained.iter().map(|tensor| tensor.trained).sum::<usize>(), 96);
        assert_eq!(rows, BTreeMap::from([("model.embed_tokens.weight".to_owned(), expected)]));

        // Drawn numbers of a linear weight: those of the mask that the seed gives.
        let name = "model.layers.1.mlp.down_proj.weight";
        let (drawn, _) = go("drawn", &|config| {
            (config.seed, config.target_modules) = (9, names(&["layers.1.mlp.down_proj"]));
        });
        let expected: Vec<usize> = mask::draw(9, name, 32 * 48, 154).into_iter().map(|at| at as usize).collect();
        assert_eq!(drawn, BTreeMap::from([(name.to_owned(), expected)]));

        // All scales of the norms, nothing else.
        let (norms, trained) = go("norms", &|config| {
            (config.density, config.target_modules) = (1.0, names(&["norm"]));
        });
        assert_eq!(trained.len(), 5, "two in each layer and one at the end");
        assert!(
            norms.len() == 5 && norms.iter().all(|(name, at)| name.contains("norm") && at.len() == 32),
            "{norms:?}"
        );
    }
}

#[test]
fn biases_can_be_trained() {
    for device in devices() {
        let place = TestFolder::new();
        let mut described: Value = serde_json::from_str(&read_text(&place.path("model/config.json"))).expect("JSON");
        described["attention_bias"] = true.into();
        place.write("model/config.json", &described.to_string());
        let config = RunConfig {
            init: Init::Random,
            density: 1.0,
            target_modules: names(&["q_proj.bias", "v_proj.bias"]),
            ..place.config("out")
        };
        let before = Pretrained::random(&config.model, config.seed, Purpose::LanguageModel, &device).expect("a model");
        assert!(before.transformer.parameters().iter().any(|p| p.role == Role::Bias));
        let (run, _) = train(&config, &device);
        let moved = changed(&weights(&before), &weights(&run.inputs().base));
        let biases = ["layers.0.self_attn.q_proj", "layers.0.self_attn.v_proj", "layers.1.self_attn.q_proj"];
        let biases = biases.iter().chain(&["layers.1.self_attn.v_proj"]).map(|name| format!("model.{name}.bias"));
        assert!(moved.keys().cloned().eq(biases), "{:?}", moved.keys());
        assert!(moved.values().all(|at| at.len() == 32 || at.len() == 16), "every number of them");
    }
}
