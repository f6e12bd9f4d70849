//! Models whose weights stay in the 16 bits of their checkpoint, against the same numbers in f32.

use std::path::{Path, PathBuf};

use agoge::{
    config::RunConfig,
    data::Batch,
    device::ComputeDevice,
    kernel::{
        AdamW, Matrix, Packed, Packing,
        matrix::write::Step,
        sparse_step::{self, Stepped},
    },
    method::{self, Setup, Training, mask},
    model::{Keeping, Pretrained, classifier::Purpose, pretrained::read_config, save::cast, weights::Weights},
    rng::Stream,
    train::{objective::Prepared, step::optimizer_step},
};
use burn::tensor::Tensor;
use pollster::block_on;
use safetensors::{Dtype, tensor::TensorView};
use tempfile::TempDir;

use crate::{
    fixture::{TestFolder, agoge, drive, start, text},
    golden::case::train_entries,
    support::{assert_close, devices, gpu},
};

const HALVES: [(Packing, Dtype); 2] = [(Packing::Bf16, Dtype::BF16), (Packing::F16, Dtype::F16)];

/// A golden model with its numbers rounded to `dtype`, stored as `stored`.
pub fn rounded(family: &str, dtype: Dtype, stored: Dtype) -> (TempDir, PathBuf) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(family);
    let weights = Weights::open(&from).expect("a golden model");
    let place = TempDir::new().expect("a folder");
    let round = |values: Vec<f32>| match agoge::model::weights::packing_of(dtype) {
        Some(packing) => packing.rounded(&values),
        None => values,
    };
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = weights
        .names()
        .map(|name| {
            let values = round(weights.floats(name).expect("floats"));
            (name.to_owned(), weights.dims(name).expect("a shape").to_vec(), cast(&values, stored).expect("bytes"))
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, dims, bytes)| (name.clone(), TensorView::new(stored, dims.clone(), bytes).expect("a tensor")));
    let file = safetensors::serialize(views, None).expect("a file");
    std::fs::write(place.path().join("model.safetensors"), file).expect("written");
    std::fs::copy(from.join("config.json"), place.path().join("config.json")).expect("copied");
    let folder = place.path().to_path_buf();
    (place, folder)
}

fn load(folder: &Path, keeping: Keeping, device: &ComputeDevice) -> Pretrained {
    let config = read_config(folder).expect("a configuration");
    Pretrained::load_as(folder, Purpose::of_checkpoint(&config), keeping, device).expect("a model")
}

/// The model in 16 bits and in f32, with the same numbers.
fn pair(family: &str, dtype: Dtype, device: &ComputeDevice) -> [Pretrained; 2] {
    let (_kept, folder) = rounded(family, dtype, dtype);
    let (_kept, plain) = rounded(family, dtype, Dtype::F32);
    [load(&folder, Keeping::AS_STORED, device), load(&plain, Keeping::AS_STORED, device)]
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

/// Two rows of eleven tokens, or of a classifier's text.
pub fn batch(model: &Pretrained, seed: u64) -> Batch {
    let (rows, width) = (2, 11);
    let mut stream = Stream::new(seed, "batch");
    let vocabulary = model.transformer.architecture.vocab_size as u64;
    let ids: Vec<i32> = (0..rows * width).map(|_| stream.below(vocabulary) as i32).collect();
    let classes = !model.classes().is_empty();
    Batch {
        labels: if classes { vec![-100; ids.len()] } else { ids.clone() },
        attention_mask: vec![1; ids.len()],
        row_count: rows,
        width,
        target_tokens: if classes { rows } else { rows * (width - 1) },
        tokens: ids.len(),
        classes: if classes { vec![0, 1] } else { Vec::new() },
        token_types: Vec::new(),
        ids,
    }
}

fn logits(model: &Pretrained, device: &ComputeDevice) -> Vec<f32> {
    let prepared = Prepared::new(&batch(model, 5), &model.transformer, device);
    let hidden = model.transformer.hidden(prepared.ids.clone(), &prepared.layout);
    values(prepared.logits(&model.transformer, hidden))
}

/// Names of all packed parameters.
fn packed_names(model: &Pretrained) -> Vec<String> {
    let packed = model.transformer.parameters().into_iter().filter(|p| p.value().packing().is_some());
    packed.map(|p| p.name.clone()).collect()
}

/// A mask of a tenth of every packed matrix, two neighbours at a time: they share words.
fn masks(model: &Pretrained) -> Vec<(String, Vec<u32>)> {
    let parameters = model.transformer.parameters().into_iter();
    let matrices =
        parameters.filter(|p| p.dims.len() == 2 && !p.name.starts_with("score") && p.name != "classifier.weight");
    matrices
        .map(|p| {
            let drawn = mask::draw(3, &p.name, p.len() - 1, p.len() / 20);
            let mut indices: Vec<u32> = drawn.iter().flat_map(|&index| [index, index + 1]).collect();
            indices.dedup();
            indices.sort_unstable();
            indices.dedup();
            (p.name.clone(), indices)
        })
        .collect()
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

#[test]
fn matrices_stay_in_their_bits_on_a_gpu_only() {
    let (_kept, folder) = rounded("llama-tied", Dtype::BF16, Dtype::BF16);
    let model = load(&folder, Keeping::AS_STORED, gpu());
    for parameter in model.transformer.parameters() {
        let expected = (parameter.dims.len() == 2).then_some(Packing::Bf16);
        assert_eq!(parameter.value().packing(), expected, "{}", parameter.name);
    }
    assert!(packed_names(&load(&folder, Keeping::F32, gpu())).is_empty());
    assert!(packed_names(&load(&folder, Keeping::AS_STORED, &ComputeDevice::cpu())).is_empty());
    let (_kept, folder) = rounded("bert-classify", Dtype::F16, Dtype::F16);
    let model = load(&folder, Keeping::AS_STORED, gpu());
    assert!(packed_names(&model).contains(&"bert.embeddings.position_embeddings.weight".to_owned()));
    assert!(!packed_names(&model).contains(&"classifier.weight".to_owned()), "every method trains it");
}

#[test]
fn outputs_and_gradients_are_those_of_the_same_numbers_in_f32() {
    for (family, (_, dtype)) in
        [("llama-tied", HALVES[0]), ("bert-classify", HALVES[0]), ("gpt2", HALVES[1]), ("qwen3", HALVES[1])]
    {
        let device = gpu();
        let models = pair(family, dtype, device);
        assert!(!packed_names(&models[0]).is_empty() && packed_names(&models[1]).is_empty());
        let [actual, expected] = models.each_ref().map(|model| logits(model, device));
        assert_close(&format!("{family} logits"), &actual, &expected, 2e-4, 2e-4);
        let gradients = models.map(|mut model| {
            let masks = masks(&model);
            let mut sparta = block_on(train_entries(masks, &mut model.transformer, device)).expect("masks");
            sparta.attach(&mut model.transformer, 0);
            let prepared = Prepared::new(&batch(&model, 7), &model.transformer, device);
            let hidden = model.transformer.hidden(prepared.ids.clone(), &prepared.layout);
            let loss = prepared.loss_sum(&model.transformer, hidden);
            sparta.collect(&mut loss.backward());
            let norm = |gradient| values::<1>(gradient).iter().map(|value| value * value).sum::<f32>().sqrt();
            sparta.tensors().gradients().into_iter().map(norm).collect::<Vec<f32>>()
        });
        let [actual, expected] = gradients;
        assert!(expected.iter().any(|norm| *norm > 1e-3), "{family}: {expected:?}");
        assert_close(&format!("{family} gradients"), &actual, &expected, 1e-3, 1e-5);
    }
}

#[test]
fn written_numbers_are_rounded_to_the_nearest_even() {
    for device in devices() {
        let mut stream = Stream::new(9, "rounding");
        for (packing, _) in HALVES {
            let (rows, cols) = (37, 53);
            let count = rows * cols;
            let before: Vec<f32> = (0..count).map(|_| stream.normal() as f32).collect();
            let mut wanted: Vec<f32> = (0..count)
                .map(|_| {
                    // Of all sizes, ties among them.
                    let number = f32::from_bits((stream.bits() as u32) & 0xbfff_ffff);
                    let tie = |bits: u32| f32::from_bits(number.to_bits() & !(bits - 1) | (bits / 2));
                    match stream.below(3) {
                        0 => number,
                        1 => tie(1 << 16),
                        _ => tie(1 << 13),
                    }
                })
                .collect();
            let special =
                [0.0, -0.0, f32::INFINITY, -f32::INFINITY, 65504.0, 65519.9, 65520.0, 1e-7, -3e-8, 6.1e-5, 1e-40];
            wanted[..special.len()].copy_from_slice(&special);
            let packed = Packed::from_values(&before, packing, [rows, cols], &device.handle);
            let indices: Vec<u32> = (0..count as u32).filter(|index| *index < 11 || index % 5 != 0).collect();
            let chosen: Vec<f32> = indices.iter().map(|&index| wanted[index as usize]).collect();
            let len = chosen.len();
            let matrix = Matrix::Packed(packed).write(device.indices(&indices), device.floats(chosen, [len]));
            let Matrix::Packed(after) = matrix else { panic!("it stays packed") };
            let (before, written) = (packing.rounded(&before), packing.rounded(&wanted));
            for (at, value) in after.values().into_iter().enumerate() {
                let expected = if at < 11 || at % 5 != 0 { written[at] } else { before[at] };
                let same = value.to_bits() == expected.to_bits() || (value.is_nan() && expected.is_nan());
                // Numbers below the smallest normal f32 may count as zero.
                let tiny = wanted[at].abs() < f32::MIN_POSITIVE && value.abs() < 1e-37;
                assert!(same || tiny, "{packing:?} on {}: {} became {value}", device.facts.backend, wanted[at]);
            }
        }
    }
}

#[test]
fn the_packed_step_is_the_composed_one_rounded() {
    for device in devices() {
        let mut stream = Stream::new(10, "packed step");
        for packing in [Packing::Bf16, Packing::F16, Packing::Q8] {
            let (rows, cols) = (19, 64);
            let numbers: Vec<f32> = (0..rows * cols).map(|_| stream.normal() as f32).collect();
            let mut matrix = Matrix::Packed(Packed::from_values(&numbers, packing, [rows, cols], &device.handle));
            let indices: Vec<u32> = (0..(rows * cols) as u32).filter(|_| stream.unit() < 0.3).collect();
            let count = indices.len();
            let indices = device.indices(&indices);
            let base = matrix.at(indices.clone());
            let start = values(matrix.dense());
            let zeros = || device.floats(vec![0.0; count], [count]);
            let (mut delta, mut moments) = (zeros(), device.floats(vec![0.0; 2 * count], [2, count]));
            let mut twin = Stepped {
                weight: device.floats(start.clone(), [rows, cols]),
                delta: zeros(),
                moments: device.floats(vec![0.0; 2 * count], [2, count]),
            };
            for t in 1..4 {
                let grad = device.floats((0..count).map(|_| stream.normal() as f32).collect(), [count]);
                let squared_norm = device.floats(vec![2.5], [1]);
                let (indices, base) = (indices.clone(), base.clone());
                let same = (indices.clone(), base.clone(), grad.clone(), squared_norm.clone());
                twin = sparse_step::composed(twin, same.0, same.1, same.2, same.3, settings(t));
                let step = Step { indices, base, grad, squared_norm, settings: settings(t) };
                (matrix, delta, moments) = matrix.step(delta, moments, step);
            }
            assert_close("delta", &values(delta), &values(twin.delta), 1e-5, 1e-7);
            assert_close("moments", &values(moments), &values(twin.moments), 1e-5, 1e-7);
            let expected = if packing.quantized() { start } else { values(twin.weight) };
            // One step of the storage type where the twin's last bit tips the rounding.
            let step = if packing == Packing::Bf16 { 1.0 / 128.0 } else { 1.0 / 1024.0 };
            assert_close(&format!("{packing:?}"), &values(matrix.dense()), &expected, step, 1e-6);
        }
    }
}

/// Losses of some steps of training.
fn losses(
    model: &mut Pretrained,
    method: &mut Training,
    device: &ComputeDevice,
    mut after: impl FnMut(&mut Pretrained),
) -> Vec<f32> {
    let batch = batch(model, 4);
    (1..=6)
        .map(|t| {
            let batch = batch.clone();
            let outcome =
                optimizer_step(&mut model.transformer, method, &[batch], t, &settings(t as i32), t % 2 == 0, device);
            after(model);
            values(outcome.expect("a step").loss)[0]
        })
        .collect()
}

#[test]
fn sparta_trains_the_rounded_weights_and_comes_off_exactly() {
    let device = gpu();
    for (family, (packing, dtype)) in
        [("llama-tied", HALVES[0]), ("llama-tied", HALVES[1]), ("bert-classify", HALVES[0])]
    {
        let [mut packed, mut plain] = pair(family, dtype, device);
        let before = crate::fixture::weights(&packed);
        let masks = masks(&packed);
        let start = |model: &mut Pretrained| {
            block_on(train_entries(masks.clone(), &mut model.transformer, device)).expect("a start")
        };
        let (mut of_packed, mut of_plain) = (start(&mut packed), start(&mut plain));
        let actual = losses(&mut packed, &mut of_packed, device, |_| {});
        // The twin: the same training in f32, whose written weights are rounded by hand after each step.
        let expected = losses(&mut plain, &mut of_plain, device, |model| {
            for (name, _) in &masks {
                let parameter = model.transformer.parameter_mut(name).expect("there");
                let dims = parameter.matrix_dims();
                let rounded = packing.rounded(&values(parameter.value().dense()));
                parameter.update(|_| Matrix::Dense(device.floats(rounded, dims)));
            }
        });
        assert!(actual[5] < actual[0] || family != "llama-tied", "{family}: it learns, {actual:?}");
        assert_close(&format!("{family} {packing:?} losses"), &actual, &expected, 2e-3, 1e-4);
        // Taken off, every weight is as it was.
        of_packed.set_applied(&mut packed.transformer, false);
        let after = crate::fixture::weights(&packed);
        for (name, bits) in &before {
            let trained_whole = name.starts_with("classifier");
            assert!(trained_whole || *bits == after[name], "{family} {name}");
        }
    }
}

#[test]
fn other_methods_train_on_packed_weights() {
    let device = gpu();
    for name in ["lora", "dora", "full"] {
        let trained = pair("llama-tied", Dtype::BF16, device).map(|mut model| {
            let config = RunConfig { lora_rank: 4, ..RunConfig::default() }.method_config();
            let entry = method::find(name).expect("a method");
            let mut setup = Setup::new(&config, device, 3);
            let started = method::start(entry, &mut setup, &mut model.transformer);
            let mut method = block_on(started).expect("a start");
            let losses = losses(&mut model, &mut method, device, |_| {});
            (losses, packed_names(&model).len())
        });
        let [(actual, packed), (expected, _)] = trained;
        assert_eq!(packed > 0, name != "full", "what is trained as a whole is in f32");
        assert_close(name, &actual, &expected, 1e-3, 1e-4);
    }
}

#[test]
fn merging_rounds_each_sum_once_on_every_device() {
    let place = TestFolder::new();
    let (_kept, halves) = rounded("llama-tied", Dtype::BF16, Dtype::BF16);
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(halves.join(name), place.path("model").join(name)).expect(name);
    }
    let config = RunConfig { density: 0.3, steps: 4, ..place.config("halves") };
    let mut run = start(&config, gpu(), false);
    assert!(!packed_names(&run.inputs().base).is_empty());
    drive(&mut run, None);
    drop(run);
    let merged = |device: &str, dtype: &str| {
        let out = place.path(&format!("{device}-{dtype}"));
        let arguments = ["merge", "--device", device, "--dtype", dtype, "--model", text(&config.model)];
        agoge(&[&arguments[..], &["--adapter", text(&config.out), "--out", text(&out)]].concat());
        Weights::open(&out).expect("a merged model")
    };
    let (on_gpu, on_cpu) = (merged("gpu", "bf16"), merged("cpu", "bf16"));
    let [wide_gpu, wide_cpu] = ["gpu", "cpu"].map(|device| merged(device, "f32"));
    let before = Weights::open(&config.model).expect("a model");
    let mut changed = 0;
    for name in before.names() {
        assert_eq!(on_gpu.bytes(name).expect("bytes"), on_cpu.bytes(name).expect("bytes"), "{name}");
        assert_eq!(wide_gpu.bytes(name).expect("bytes"), wide_cpu.bytes(name).expect("bytes"), "{name}");
        let sums = wide_cpu.floats(name).expect("floats");
        assert_eq!(on_cpu.floats(name).expect("floats"), Packing::Bf16.rounded(&sums), "{name}");
        changed += usize::from(sums != before.floats(name).expect("floats"));
    }
    assert!(changed > 0);
}
