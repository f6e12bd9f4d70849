//! Adapters of other programs: read, folded with a weight, taken off, written again. The reference is what PyTorch,
//! PEFT and the SpaRTA authors' package stored and computed (`tests/golden/train-*`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use agoge::{
    config::RunConfig,
    device::ComputeDevice,
    method::{
        self, Setup,
        adapter::Adapter,
        change::{Change, HookChange, TensorChange},
        formats::{self, Format},
        hook::{Hook, LayerChange, Leaf, Pass},
        stack::{AdapterStack, Overlap, merge_for_good},
    },
    model::{LinearCall, Pretrained, classifier::Purpose, save, weights::Weights},
};
use burn::tensor::Tensor;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    fixture::{TestFolder, agoge, program, read, read_text, text, train, weights},
    support::{assert_close, devices},
};

/// Folder of the case, its adapter, the layout it is in, the file with the values.
const CASES: &[(&str, &str, &str, &str)] = &[
    ("train-sparta", "adapter-peft-sparta", "sparta", "sparse_deltas.safetensors"),
    ("train-lora", "adapter-peft", "peft", "adapter_model.safetensors"),
    ("train-shira", "adapter-peft", "peft", "adapter_model.safetensors"),
    ("train-dora", "adapter-peft", "peft", "adapter_model.safetensors"),
];

fn golden(case: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests/golden", "tests/golden-methods"].map(|folder| here.join(folder).join(case));
    folders.into_iter().find(|folder| folder.exists()).unwrap_or_else(|| panic!("there is no {case}"))
}

fn load(folder: &Path, device: &ComputeDevice) -> Pretrained {
    Pretrained::load(folder, device).expect("a model")
}

fn adapter(folder: &Path) -> Adapter {
    Adapter::read(folder).unwrap_or_else(|e| panic!("{e}"))
}

fn stored(path: &Path) -> Weights {
    Weights::from_bytes(&path.display().to_string(), read(path)).expect("safetensors")
}

/// Logits of the first batch of a trajectory.
fn logits(case: &Path, model: &Pretrained, device: &ComputeDevice) -> Vec<f32> {
    let values = stored(&case.join("case.safetensors"));
    let dims = values.dims("input_ids").expect("input_ids").to_vec();
    let (rows, width) = (dims[1], dims[2]);
    let first = |name: &str| values.indices(name).expect(name)[..rows * width].to_vec();
    let mask: Vec<u8> = first("attention_mask").into_iter().map(|one| one as u8).collect();
    let layout = model.transformer.layout(rows, width, Some(&mask), &[]);
    let ids = first("input_ids").into_iter().map(|id| id as i32).collect();
    model.transformer.forward(device.integers(ids), &layout).into_data().try_into_vec().expect("f32")
}

/// Writes an adapter in a layout, as `agoge export` does.
fn export(from: &Path, base: &Pretrained, format: &str, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    let format = formats::find(format).expect("a format");
    let adapter = adapter(from);
    let base_name = adapter.info.base_model.name.clone();
    for (name, bytes) in formats::export(&adapter, base, format, base_name).expect("an export") {
        std::fs::write(to.join(name), bytes).expect(name);
    }
}

/// Changes by name, without numbers that change nothing.
fn changes(adapter: &Adapter, base: &Pretrained) -> BTreeMap<String, Change> {
    let deltas = adapter.changes(&base.transformer).unwrap_or_else(|e| panic!("{e}"));
    let kept = |TensorChange { name, change, .. }| match change {
        Change::Sparse { indices, values } => {
            let (indices, values) = indices.into_iter().zip(values).filter(|(_, value)| *value != 0.0).unzip();
            (name, Change::Sparse { indices, values })
        }
        other => (name, other),
    };
    deltas.into_iter().map(kept).filter(|(_, change)| !change.is_empty()).collect()
}

#[test]
fn adapters_of_other_programs_give_their_logits_and_come_off_again() {
    for (case, folder, format, _) in CASES {
        let case = golden(case);
        let adapter = adapter(&case.join(folder));
        assert_eq!(adapter.format.name, *format);
        assert!(!adapter.info.base_model.name.is_empty());
        let expected = stored(&case.join("after.safetensors")).floats("logits").expect("logits");
        for device in devices() {
            let mut base = load(&case, &device);
            let (before, plain) = (weights(&base), logits(&case, &base, &device));
            let stack = AdapterStack::merge(&[(&adapter, 1.0)], &mut base, &device).expect("it fits");
            let what = format!("{} on {}", case.display(), device.facts.backend);
            assert_close(&what, &logits(&case, &base, &device), &expected, 1e-3, 2e-4);
            let moved = plain.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(moved > 0.02, "{what}: the adapter changes little, {moved}");
            stack.unmerge(&mut base.transformer);
            assert!(weights(&base) == before, "{what}: taken off bit for bit");
        }
    }
}

#[test]
fn exports_are_what_the_other_programs_wrote() {
    let device = ComputeDevice::cpu();
    let place = TempDir::new().expect("a folder");
    for (case, folder, format, file) in CASES {
        let (case, to) = (golden(case), place.path().join(case));
        let base = load(&case, &device);
        export(&case.join(folder), &base, format, &to);
        assert!(read(&to.join(file)) == read(&case.join(folder).join(file)), "{file} of {}", case.display());
        let config = if *format == "peft" { "adapter_config.json" } else { "config.json" };
        let [written, expected] = [to.join(config), case.join(folder).join(config)]
            .map(|path| serde_json::from_str::<Value>(&read_text(&path)).expect("JSON"));
        for (key, value) in written.as_object().expect("fields") {
            // PEFT writes a set in any order.
            let sorted = |value: &Value| match value {
                Value::Array(items) => {
                    let mut items: Vec<String> = items.iter().map(Value::to_string).collect();
                    items.sort();
                    items.join(",")
                }
                other => other.to_string(),
            };
            assert_eq!(Some(sorted(value)), expected.get(key).map(sorted), "{key} of {}", case.display());
        }
        if *format == "sparta" {
            assert_eq!(written, expected);
        }
        assert_eq!(changes(&adapter(&to), &base), changes(&adapter(&case.join(folder)), &base));
    }
}

#[test]
fn dora_passes_through_both_layouts_and_is_continued_from_each() {
    let device = ComputeDevice::cpu();
    let place = TempDir::new().expect("a folder");
    let base = load(&golden("train-dora"), &device);
    let first = golden("train-dora").join("adapter-peft");
    let expected = changes(&adapter(&first), &base);
    let mut from = first;
    for format in ["agoge", "peft", "agoge"] {
        let to = place.path().join(format!("{format}-{}", from.components().count()));
        export(&from, &base, format, &to);
        let read = adapter(&to);
        assert_eq!((read.format.name, &read.info.method[..]), (format, "dora"));
        assert!(changes(&read, &base) == expected, "as {format}");
        let mut continued = load(&golden("train-dora"), &device);
        let config = RunConfig::default().method_config();
        let mut setup = Setup::new(&config, &device, 0);
        setup.initial = read.changes(&continued.transformer).expect("it fits");
        let entry = method::find("dora").expect("a method");
        let training =
            pollster::block_on(method::start(entry, &mut setup, &mut continued.transformer)).expect("a start");
        assert_eq!(training.trained_parameters(), read.info.trained_parameters, "as {format}");
        let case = golden("train-dora");
        let mut merged = load(&case, &device);
        read.apply(&mut merged, &device).expect("it fits");
        let [hooked, merged] = [&continued, &merged].map(|model| logits(&case, model, &device));
        assert_close(&format!("as {format}"), &hooked, &merged, 1e-4, 1e-5);
        from = to;
    }
    let sparta = formats::find("sparta").expect("a format");
    let said = formats::export(&adapter(&from), &base, sparta, String::new()).expect_err("no place for it").to_string();
    assert!(said.contains("that of dora"), "{said}");
}

#[test]
fn sparse_adapters_pass_through_every_layout() {
    let device = ComputeDevice::cpu();
    let place = TempDir::new().expect("a folder");
    for (case, folder) in [("train-sparta", "adapter-peft-sparta"), ("train-shira", "adapter-peft")] {
        let base = load(&golden(case), &device);
        let first = golden(case).join(folder);
        let expected = changes(&adapter(&first), &base);
        let mut from = first;
        for format in ["agoge", "peft", "sparta", "agoge"] {
            let to = place.path().join(format!("{case}-{format}-{}", from.components().count()));
            export(&from, &base, format, &to);
            let read = adapter(&to);
            assert_eq!(read.format.name, format);
            assert!(changes(&read, &base) == expected, "{case} as {format}");
            from = to;
        }
    }
    // SHiRA asks for the same rank everywhere, so layers are filled up with numbers that change nothing.
    let base = load(&golden("train-sparta"), &device);
    let to = place.path().join("filled");
    export(&golden("train-sparta").join("adapter-peft-sparta"), &base, "peft", &to);
    let config: Value = serde_json::from_str(&read_text(&to.join("adapter_config.json"))).expect("JSON");
    assert_eq!((&config["r"], &config["peft_type"]), (&2.into(), &"SHIRA".into()));
    let values = stored(&to.join("adapter_model.safetensors"));
    let key = "base_model.model.model.layers.0.self_attn.k_proj";
    assert_eq!(values.dims(&format!("{key}.shira_weight")), Some(&[2 * (16 + 32)][..]));
    assert_eq!(values.dims(&format!("{key}.shira_indices")), Some(&[2, 96][..]));
}

#[test]
fn a_trained_adapter_is_the_same_in_other_layouts() {
    let place = TestFolder::new();
    let device = ComputeDevice::cpu();
    let (model, out) = (place.path("model"), place.path("out"));
    train(&place.config("out"), &device);
    let mut native = load(&model, &device);
    adapter(&out).apply(&mut native, &device).expect("its own model");
    for format in ["sparta", "peft"] {
        let to = place.path(format);
        let folders = ["--model", text(&model), "--adapter", text(&out), "--out", text(&to)];
        agoge(&[&["export", "--format", format], &folders[..]].concat());
        let mut base = load(&model, &device);
        adapter(&to).apply(&mut base, &device).expect("the same model");
        assert!(weights(&base) == weights(&native), "{format}");
        let again = program(&[&["export", "--format", format], &folders[..]].concat()).output().expect("the program");
        assert!(String::from_utf8_lossy(&again.stderr).contains("already; use --overwrite"), "{again:?}");
    }
    let named: Value = serde_json::from_str(&read_text(&place.path("peft/adapter_config.json"))).expect("JSON");
    assert_eq!(named["base_model_name_or_path"], text(&model));
    assert_eq!(named["target_modules"].as_array().expect("names").len(), 7, "short names: {named}");
}

/// The weights of a stack, computed on the host in the order that the documentation gives.
fn expected_sum(base: &Pretrained, parts: &[(&Adapter, f32)]) -> BTreeMap<String, Vec<f32>> {
    let mut all: BTreeMap<String, Vec<f32>> = floats(base);
    let originals = all.clone();
    for (adapter, weight) in parts {
        for TensorChange { name, shape, change } in adapter.changes(&base.transformer).expect("it fits") {
            let sum = all.get_mut(&name).expect("a parameter");
            match change {
                Change::Sparse { indices, values } => {
                    indices.iter().zip(values).for_each(|(&index, value)| sum[index as usize] += weight * value);
                }
                Change::Replace(values) => {
                    let change = values.iter().zip(&originals[&name]).map(|(new, old)| weight * (new - old));
                    sum.iter_mut().zip(change).for_each(|(sum, change)| *sum += change);
                }
                Change::LowRank { rank, a, b, scale } => {
                    let inputs = shape[1];
                    for (at, sum) in sum.iter_mut().enumerate() {
                        let (row, column) = (at / inputs, at % inputs);
                        let product = (0..rank).map(|r| b[row * rank + r] * a[r * inputs + column]).sum::<f32>();
                        *sum += weight * scale * product;
                    }
                }
                Change::Hook(_) => panic!("{name}: computed weights have a test of their own"),
            }
        }
    }
    all
}

fn floats(model: &Pretrained) -> BTreeMap<String, Vec<f32>> {
    weights(model).into_iter().map(|(name, bits)| (name, bits.into_iter().map(f32::from_bits).collect())).collect()
}

#[test]
fn weighted_adapters_add_up_and_come_off_in_turn() {
    let place = TestFolder::new();
    let model = place.path("model");
    for (out, seed, method) in [("a", 1, "sparta"), ("b", 2, "sparta"), ("full", 3, "full")] {
        let config = RunConfig { seed, method: method.into(), density: 0.4, ..place.config(out) };
        train(&config, &ComputeDevice::cpu());
    }
    let adapters: Vec<Adapter> = ["a", "b", "full"].map(|out| adapter(&place.path(out))).into();
    // The pair of another program changes the same layers as a low-rank product.
    let lora = adapter(&golden("train-lora").join("adapter-peft"));
    for device in devices() {
        let plain = load(&model, &device);
        let mut base = load(&model, &device);
        let (first, second) = (&adapters[0], &adapters[1]);
        let pair = [(first, 0.7), (second, 0.3)];
        let stack = AdapterStack::merge(&pair, &mut base, &device).expect("they fit");
        let close = |base: &Pretrained, expected: BTreeMap<String, Vec<f32>>| {
            for (name, values) in floats(base) {
                assert_close(&format!("{name} on {}", device.facts.backend), &values, &expected[&name], 1e-5, 1e-6);
            }
        };
        close(&base, expected_sum(&plain, &pair));

        let indices = |adapter: &Adapter| -> BTreeMap<String, Vec<u32>> {
            let of = |tensor: TensorChange| match tensor.change {
                Change::Sparse { indices, .. } => (tensor.name, indices),
                other => panic!("{other:?}"),
            };
            adapter.changes(&plain.transformer).expect("it fits").into_iter().map(of).collect()
        };
        let (one, two) = (indices(first), indices(second));
        let shared = one.iter().map(|(name, at)| at.iter().filter(|at| two[name].contains(at)).count()).sum();
        assert_eq!(stack.overlaps, [Overlap { first: 0, second: 1, shared }]);
        assert!(shared > 1000, "two fifths of two fifths of 15,360: {shared}");

        // Everything at once, on top of the first stack; then both come off.
        let (under, mixed) = (weights(&base), [(&adapters[2], 0.5), (&lora, -1.5), (first, 0.25)]);
        let expected = expected_sum(&base, &mixed);
        let upper = AdapterStack::merge(&mixed, &mut base, &device).expect("they fit");
        assert!(upper.overlaps.is_empty(), "only sparse adapters are compared");
        close(&base, expected);
        upper.unmerge(&mut base.transformer);
        assert!(weights(&base) == under);
        stack.unmerge(&mut base.transformer);
        assert!(weights(&base) == weights(&plain));

        // A replacement with weight 1 is exact, whatever the rounding of a difference would be.
        merge_for_good(&[(&adapters[2], 1.0)], &mut base, &device).expect("it fits");
        let exact = stored(&place.path("full/adapter.safetensors"));
        let folded = floats(&base);
        assert!(exact.names().count() == 14);
        for name in exact.names() {
            assert!(exact.floats(name).is_ok_and(|stored| stored == folded[name]), "{name}");
        }
    }
}

/// A layer whose output is multiplied by a number, residual and all: no weight amounts to that.
#[derive(Debug)]
struct Multiplied;

impl Hook for Multiplied {
    fn linear(&self, layer: LinearCall<'_>, leaves: &[Tensor<2>], _pass: Pass) -> Tensor<2> {
        layer.plain() * leaves[0].clone()
    }
}

impl LayerChange for Multiplied {
    fn fits(&self, _dims: [usize; 2], leaves: &[Leaf]) -> bool {
        matches!(leaves, [(_, [1, 1], _)])
    }

    fn settings(&self) -> Value {
        serde_json::json!({})
    }
}

/// A layout whose adapters change one layer so.
static MULTIPLIED: Format = Format {
    name: "multiplied",
    about: "",
    marker: "",
    open: |_| unreachable!("it is not read from files"),
    changes: |_, transformer| {
        let parameter = transformer.parameters().into_iter().find(|p| p.is_linear()).expect("a linear layer");
        let leaves = vec![("factor", [1, 1], vec![1.5])];
        let hook = HookChange { method: "multiplied", hook: Arc::new(Multiplied), leaves };
        let (name, shape) = (parameter.name.clone(), parameter.dims.clone());
        Ok(vec![TensorChange { name, shape, change: Change::Hook(hook) }])
    },
    write: |_| unreachable!("it is not written"),
};

#[test]
fn what_is_no_weight_is_hooked_in_and_not_merged() {
    let place = TempDir::new().expect("a folder");
    let case = golden("train-lora");
    let adapter = |folder: &str| Adapter { format: &MULTIPLIED, ..adapter(&case.join(folder)) };
    for device in devices() {
        let mut base = load(&case, &device);
        let (before, plain) = (weights(&base), logits(&case, &base, &device));
        let (first, second) = (adapter("adapter-peft"), adapter("adapter-peft"));
        let stack = AdapterStack::merge(&[(&first, 1.0)], &mut base, &device).expect("it fits");
        assert!(weights(&base) == before, "no weight changes");
        assert_ne!(logits(&case, &base, &device), plain);
        let out = place.path().join("merged");
        let refused = |base: &Pretrained| {
            let written = save::folder(base, safetensors::Dtype::F32, &out, save::MOST_FILE_BYTES);
            pollster::block_on(written).expect_err("no weights").to_string()
        };
        let said = refused(&base);
        assert!(
            said.contains("q_proj.weight") && said.contains("cannot be merged") && said.contains("generate"),
            "{said}"
        );
        assert!(!out.exists(), "nothing is half written");
        stack.unmerge(&mut base.transformer);
        assert_eq!(logits(&case, &base, &device), plain);
        for both in [vec![(&first, 0.5)], vec![(&first, 1.0), (&second, 1.0)]] {
            let said = AdapterStack::merge(&both, &mut base, &device).expect_err("not alone").to_string();
            assert!(said.contains("q_proj.weight") && said.contains("alone"), "{said}");
            assert_eq!(logits(&case, &base, &device), plain);
        }
    }
}

/// A copy of a golden adapter, damaged by `edit` of its description.
fn damaged(place: &TempDir, case: &str, edit: impl FnOnce(&mut Value)) -> PathBuf {
    let folder = place.path().join("damaged");
    std::fs::create_dir_all(&folder).expect("a folder");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::write(folder.join(name), read(&golden(case).join("adapter-peft").join(name))).expect(name);
    }
    let path = folder.join("adapter_config.json");
    let mut config: Value = serde_json::from_str(&read_text(&path)).expect("JSON");
    edit(&mut config);
    std::fs::write(&path, config.to_string()).expect("a file");
    folder
}

#[test]
fn what_does_not_fit_is_refused_with_a_sentence() {
    let device = ComputeDevice::cpu();
    let place = TempDir::new().expect("a folder");
    let base = load(&golden("train-lora"), &device);
    type Edit = fn(&mut Value);
    let edits: &[(Edit, &str)] = &[
        (|c| c["use_dora"] = true.into(), "DoRA (use_dora) needs"),
        (|c| c["bias"] = "all".into(), "trained biases"),
        (|c| c["peft_type"] = "IA3".into(), "the kind \"IA3\" is not supported; LORA and SHIRA are"),
        (|c| c["trainable_token_indices"] = serde_json::json!([3]), "trainable tokens"),
        (|c| c["r"] = 8.into(), "has matrices of rank 4, but adapter_config.json says 8"),
        (|c| c["lora_alpha"] = Value::Null, "lora_alpha is missing"),
    ];
    for (edit, words) in edits {
        let folder = damaged(&place, "train-lora", edit);
        let said = Adapter::read(&folder).and_then(|adapter| adapter.changes(&base.transformer)).expect_err(words);
        assert!(said.to_string().contains(words) && said.to_string().contains("damaged"), "{said}");
    }
    let factor = |edit: Edit| match &changes(&adapter(&damaged(&place, "train-lora", edit)), &base)["model.layers.1.self_attn.q_proj.weight"]
    {
        Change::LowRank { scale, .. } => *scale,
        other => panic!("{other:?}"),
    };
    assert_eq!(factor(|_| ()), 2.0);
    assert_eq!(factor(|c| c["use_rslora"] = true.into()), 4.0);
    assert_eq!(factor(|c| c["alpha_pattern"] = serde_json::json!({"layers.1.self_attn.q_proj": 12})), 3.0);
    assert_eq!(factor(|c| c["alpha_pattern"] = serde_json::json!({"layers.0.self_attn.q_proj": 12})), 2.0);

    // A model of other shapes: every mismatch at once, and the model stays as it was.
    let folder = place.path().join("wide");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("config.json"), {
        let mut config: Value =
            serde_json::from_str(&read_text(&golden("train-lora").join("config.json"))).expect("JSON");
        (config["intermediate_size"], config["num_hidden_layers"]) = (56.into(), 1.into());
        config.to_string()
    })
    .expect("config.json");
    let mut other = Pretrained::random(&folder, 1, Purpose::LanguageModel, &device).expect("a model");
    let before = weights(&other);
    let lora = adapter(&golden("train-lora").join("adapter-peft"));
    let said = lora.apply(&mut other, &device).expect_err("another shape").to_string();
    for words in
        ["does not fit the model (4 tensors)", "down_proj.weight has shape [32, 48] in the adapter but [32, 56]"]
    {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(said.matches("the model has no parameter model.layers.1.").count(), 3, "{said}");
    for sparse in ["train-sparta/adapter-peft-sparta", "train-shira/adapter-peft"] {
        let said = adapter(&golden(sparse)).apply(&mut other, &device).expect_err("another shape").to_string();
        assert!(said.contains("the model") && said.contains("adapter-peft"), "{said}");
    }
    assert!(weights(&other) == before);

    // Layouts that cannot hold a change say which one.
    let refuse = |from: &Path, format: &str| {
        let format = formats::find(format).expect("a format");
        formats::export(&adapter(from), &base, format, String::new()).expect_err("no place for it").to_string()
    };
    let said = refuse(&golden("train-lora").join("adapter-peft"), "sparta");
    assert!(said.contains("the change of model.layers.0.self_attn.q_proj.weight is low-rank"), "{said}");
}

#[test]
fn a_layout_of_linear_layers_names_what_it_cannot_hold() {
    let place = TestFolder::new();
    let device = ComputeDevice::cpu();
    for (out, targets, density, words) in [
        ("norms", "norm", 1.0, "model.layers.0.input_layernorm.weight is no linear layer"),
        ("table", "embed_tokens", 0.1, "model.embed_tokens.weight is no linear layer"),
        ("dense", "v_proj", 1.0, "v_proj.weight has 512 entries, fewer than the 528 that SHiRA's rank 11 asks"),
    ] {
        let config = RunConfig {
            target_modules: crate::fixture::names(&[targets]),
            density,
            steps: 2,
            eval_steps: 0,
            ..place.config(out)
        };
        train(&config, &device);
        let base = load(&place.path("model"), &device);
        let peft = formats::find("peft").expect("a format");
        let said = formats::export(&adapter(&config.out), &base, peft, String::new()).expect_err(words).to_string();
        assert!(said.contains(words), "{said}");
        // The authors' layout has a place for every parameter.
        let to = place.path(&format!("{out}-sparta"));
        export(&config.out, &base, "sparta", &to);
        assert_eq!(changes(&adapter(&to), &base), changes(&adapter(&config.out), &base));
    }
}

#[test]
fn the_program_adds_weighted_adapters_up() {
    let place = TestFolder::new();
    let device = ComputeDevice::cpu();
    let model = place.path("model");
    for (out, seed) in [("a", 1), ("b", 2)] {
        let config = RunConfig { seed, density: 0.5, steps: 3, eval_steps: 0, ..place.config(out) };
        train(&config, &device);
    }
    let [a, b, merged] = ["a", "b", "merged"].map(|name| place.path(name));
    let weighted = [format!("{}:0.7", text(&a)), format!("{}:-0.5", text(&b))];
    let arguments = ["merge", "--device", "cpu", "--model", text(&model), "--out", text(&merged)];
    let adapters = ["--adapter", &weighted[0][..], "--adapter", &weighted[1]];
    let said = agoge(&[&arguments, &adapters[..]].concat());
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(said.contains("entries are changed by both") && said.contains("the changes add"), "{said}");
    let mut expected = load(&model, &device);
    merge_for_good(&[(&adapter(&a), 0.7), (&adapter(&b), -0.5)], &mut expected, &device).expect("they fit");
    assert!(weights(&load(&merged, &device)) == weights(&expected));
}

#[test]
fn large_models_are_written_in_several_files() {
    let place = TestFolder::new();
    let device = ComputeDevice::cpu();
    let (model, out) = (place.path("model"), place.path("out"));
    let base = load(&model, &device);
    let go = |most: u64| {
        let dtype = safetensors::Dtype::F32;
        let total = pollster::block_on(save::folder(&base, dtype, &out, most)).expect("a folder");
        assert_eq!(total, 4 * 17_664);
        assert!(weights(&load(&out, &device)) == weights(&base));
        let mut files: Vec<String> = std::fs::read_dir(&out)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| save::is_weights(name))
            .collect();
        files.sort();
        files
    };
    assert_eq!(go(save::MOST_FILE_BYTES), ["model.safetensors"]);
    assert_eq!(read(&out.join("model.safetensors")).len() % 8, 0);
    let files = go(20_000);
    assert!(files.len() > 4 && files.contains(&"model.safetensors.index.json".to_owned()), "{files:?}");
    for name in files.iter().filter(|name| name.ends_with(".safetensors")) {
        let bytes = read(&out.join(name));
        let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight"));
        assert!(bytes.len() as u64 - 8 - header <= 20_000, "{name}");
    }
    let index: Value = serde_json::from_str(&read_text(&out.join("model.safetensors.index.json"))).expect("JSON");
    assert_eq!(
        (&index["metadata"]["total_size"], index["weight_map"].as_object().expect("a map").len()),
        (&70_656.into(), 20)
    );
    // Fewer files afterwards: the old ones would be read as well.
    assert!(go(40_000).len() < files.len());
    assert_eq!(go(save::MOST_FILE_BYTES), ["model.safetensors"]);
}
