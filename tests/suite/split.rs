//! Tables and heads in blocks of their rows, as on a device that cannot bind all of one: every operation against the whole
//! matrix, golden values, training, files, and what is refused.

use std::path::Path;

use agoge::{
    Result,
    config::{List, RunConfig},
    device::{ComputeDevice, DeviceFacts},
    kernel::{
        AdamW, Matrix, Packing,
        matrix::{self, split::row_blocks, write::Step},
    },
    method::{self, Setup, adapter::Adapter, mask, stack::AdapterStack},
    model::{Keeping, Pretrained, Role, classifier::Purpose, save},
    rng::Stream,
    train::{objective::Prepared, step::optimizer_step},
};
use burn::tensor::Tensor;
use pollster::block_on;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;

use crate::{
    fixture::{TINY, TestFolder, names, read, steps, train},
    golden::case::{Case, train_entries},
    packed::{batch, rounded},
    support::{assert_close, devices, gpu},
};

const STORED: [Option<Packing>; 3] = [None, Some(Packing::Bf16), Some(Packing::F16)];
/// The largest linear weight of the tiny model; its table of 67 rows takes more, and is then split after 48 of them.
const LIMIT: u64 = 4 * 48 * 32;

/// The same device, as if it could bind less at once.
fn narrow(device: &ComputeDevice, limit: u64) -> ComputeDevice {
    ComputeDevice { facts: DeviceFacts { max_binding_bytes: Some(limit), ..device.facts.clone() }, ..device.clone() }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

fn normals(stream: &mut Stream, count: usize) -> Vec<f32> {
    (0..count).map(|_| stream.normal() as f32).collect()
}

/// Keeps tables and heads in blocks of at most `rows` rows.
fn split(model: &mut Pretrained, rows: usize, device: &ComputeDevice) {
    for parameter in model.transformer.parameters_mut().into_iter().filter(|p| p.role.by_rows()) {
        let ([_, cols], packing) = (parameter.matrix_dims(), parameter.value().packing());
        let numbers = block_on(parameter.value().read()).expect("numbers");
        let dims = parameter.matrix_dims();
        let limit = 4 * packing.map_or(rows * cols, |packing| packing.words(rows * cols)) as u64;
        parameter.update(|_| Matrix::from_values(numbers, packing, dims, device, Some(limit)));
    }
}

/// How many blocks the largest table or head has.
fn blocks(model: &Pretrained) -> usize {
    model.transformer.parameters().iter().map(|p| p.value().blocks().len()).max().unwrap_or(0)
}

/// A random matrix, whole and in blocks of at most `rows` rows.
fn pair(
    stream: &mut Stream,
    dims: [usize; 2],
    packing: Option<Packing>,
    rows: usize,
    device: &ComputeDevice,
) -> [Matrix; 2] {
    let numbers = normals(stream, dims[0] * dims[1]);
    let limit = 4 * packing.map_or(rows * dims[1], |packing| packing.words(rows * dims[1])) as u64;
    let all = [None, Some(limit)].map(|limit| Matrix::from_values(numbers.clone(), packing, dims, device, limit));
    assert_eq!([all[0].blocks().len(), all[1].blocks().len()], [1, dims[0].div_ceil(rows)], "{dims:?} {rows}");
    assert_eq!((all[1].dims(), all[1].packing()), (dims, packing));
    all
}

/// Sizes of matrices, and rows of a block: the last block has fewer.
const SIZES: [([usize; 2], usize); 5] = [([67, 32], 16), ([130, 7], 48), ([5, 64], 2), ([200, 33], 64), ([3, 9], 1)];

#[test]
fn products_and_their_gradients_are_those_of_the_whole() {
    for device in devices() {
        let mut stream = Stream::new(1, "split products");
        for (dims, rows) in SIZES {
            for packing in STORED {
                let [whole, split] = pair(&mut stream, dims, packing, rows, &device);
                for (tokens, along) in [(1, true), (5, true), (37, true), (1, false), (37, false)] {
                    let (inner, outer) = if along { (dims[1], dims[0]) } else { (dims[0], dims[1]) };
                    let x = device.floats(normals(&mut stream, tokens * inner), [tokens, inner]);
                    let weights = device.floats(normals(&mut stream, tokens * outer), [tokens, outer]);
                    let what = format!("{dims:?} {packing:?} {tokens} along {along}");
                    let expected = values(matrix::composed(x.clone(), &whole, along));
                    assert_close(&what, &values(split.product(x.clone(), along)), &expected, 1e-5, 2e-4);
                    let gradient = |product: &dyn Fn(Tensor<2>) -> Tensor<2>| {
                        let x = Tensor::from_inner(x.clone()).require_grad();
                        let y = product(x.clone());
                        let shown = values(y.clone().inner());
                        // The product is read twice: what a block leaves behind must not change what others read.
                        let loss = (y.clone() * Tensor::from_inner(weights.clone())).sum() + y.square().sum();
                        (shown, values(x.grad(&loss.backward()).expect("a gradient")))
                    };
                    let actual = gradient(&|x| split.product(x, along));
                    let dense = whole.dense();
                    let wanted = gradient(&|x| {
                        let w = Tensor::from_inner(dense.clone());
                        x.matmul(if along { w.transpose() } else { w })
                    });
                    assert_close(&format!("{what} tracked"), &actual.0, &expected, 1e-5, 2e-4);
                    assert_close(&format!("{what} gradient"), &actual.1, &wanted.1, 1e-4, 1e-2);
                }
            }
        }
    }
}

#[test]
fn rows_and_numbers_are_read_exactly() {
    for device in devices() {
        let mut stream = Stream::new(2, "split rows");
        for (dims, rows) in SIZES {
            for packing in STORED {
                let [whole, split] = pair(&mut stream, dims, packing, rows, &device);
                let (count, what) = ((dims[0] * dims[1]) as u32, format!("{dims:?} {packing:?}"));
                let all = values(whole.dense());
                assert_eq!(block_on(split.read()).expect("numbers"), all, "{what}");
                assert_eq!(values(split.dense()), all, "{what}");
                assert_eq!(values(split.clone().into_dense()), all, "{what}");
                let ids: Vec<u32> = (0..41).map(|_| stream.below(dims[0] as u64) as u32).collect();
                let [of_split, of_whole] = [&split, &whole].map(|matrix| values(matrix.rows(device.indices(&ids))));
                assert_eq!(of_split, of_whole, "{what}");
                let indices: Vec<u32> = (0..count).rev().step_by(3).collect();
                let [of_split, of_whole] = [&split, &whole].map(|matrix| values(matrix.at(device.indices(&indices))));
                assert_eq!(of_split, of_whole, "{what}");
                let middle = dims[0] / 3..dims[0].div_ceil(2);
                let numbers = &all[middle.start * dims[1]..middle.end * dims[1]];
                assert_eq!(values(split.part(middle)), numbers, "{what}");
            }
        }
    }
}

#[test]
fn written_and_stepped_numbers_are_those_of_the_whole() {
    let settings = AdamW { learning_rate: 3e-3, max_norm: 1.0, ..optimizer(1) };
    for device in devices() {
        let mut stream = Stream::new(3, "split writes");
        for (dims, rows) in SIZES {
            for packing in STORED {
                let matrices = pair(&mut stream, dims, packing, rows, &device);
                let count = (dims[0] * dims[1]).div_ceil(3).max(1);
                let chosen = mask::draw(1, "split", dims[0] * dims[1], count);
                let indices = || device.indices(&chosen);
                let mut random =
                    |scale: f32| normals(&mut stream, count).iter().map(|x| x * scale).collect::<Vec<f32>>();
                let (written, base, delta, grad) = (random(1.0), random(1.0), random(0.1), random(1.0));
                let what = format!("{dims:?} {packing:?}");
                let after = matrices.map(|matrix| {
                    let vector = |values: &Vec<f32>| device.floats(values.clone(), [count]);
                    let matrix = matrix.write(indices(), vector(&written));
                    let shown = values(matrix.dense());
                    let step = Step {
                        indices: indices(),
                        base: vector(&base),
                        grad: vector(&grad),
                        squared_norm: device.floats(vec![2.0], [1]),
                        settings,
                    };
                    let moments = device.floats(vec![0.1; 2 * count], [2, count]);
                    let (matrix, delta, moments) = matrix.step(vector(&delta), moments, step);
                    (shown, values(matrix.dense()), values(delta), values(moments))
                });
                assert!(after[0] == after[1], "{what} on {}", device.facts.backend);
                assert_ne!(after[0].0, after[0].1, "{what}");
            }
        }
    }
}

fn optimizer(step: i32) -> AdamW {
    AdamW {
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.0,
        correction1: 1.0 - 0.9f32.powi(step),
        correction2: 1.0 - 0.99f32.powi(step),
        max_norm: 1.0,
    }
}

fn case(name: &str) -> Case {
    Case::open(&Path::new(TINY).with_file_name(name)).expect(name)
}

/// A golden model with its table, and its head if it has one, in two blocks as they are loaded, and in many.
fn in_blocks(case: &Case, device: &ComputeDevice) -> Result<[Pretrained; 2]> {
    let few = case.load(&narrow(device, LIMIT))?;
    let mut many = case.load(device)?;
    split(&mut many, 11, device);
    assert_eq!((blocks(&few), blocks(&many)), (2, 7));
    Ok([few, many])
}

#[test]
fn logits_and_every_gradient_are_the_golden_ones() -> Result<()> {
    for case in ["llama-tied", "llama-untied-rope3", "gemma2"].map(case) {
        for device in devices() {
            for mut model in in_blocks(&case, &device)? {
                let batch = case.batch(0)?;
                let (rtol, atol) = (case.number("rtol")? as f32, case.number("atol")? as f32);
                if !model.transformer.architecture.windowed() {
                    let layout =
                        model.transformer.layout(batch.row_count, batch.width, Some(&batch.attention_mask), &[]);
                    let logits = values(model.transformer.forward(device.integers(batch.ids.clone()), &layout));
                    assert_close(&format!("{} logits", case.name()), &logits, &case.floats("logits")?, rtol, atol);
                }
                let of = |p: &agoge::model::Parameter| (p.name.clone(), (0..p.len() as u32).collect::<Vec<u32>>());
                let masks: Vec<_> = model.transformer.parameters().into_iter().map(of).collect();
                let mut sparta = block_on(train_entries(masks.clone(), &mut model.transformer, &device))?;
                sparta.attach(&mut model.transformer, 0);
                let prepared = Prepared::new(&batch, &model.transformer, &device);
                let hidden = model.transformer.hidden(prepared.ids.clone(), &prepared.layout);
                // Some positions at a time, as well: each piece goes through all blocks.
                let loss = prepared.loss_sum_by_rows(&model.transformer, hidden, 5);
                sparta.collect(&mut loss.div_scalar(prepared.target_tokens as f64).backward());
                for ((name, _), gradient) in masks.iter().zip(sparta.tensors().gradients()) {
                    let what = format!("{} {} {name}", case.name(), device.facts.backend);
                    assert_close(&what, &values(gradient), &case.floats(&format!("grad.{name}"))?, rtol, atol);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_golden_trajectory_is_followed() -> Result<()> {
    let case = case("train-sparta");
    for device in devices() {
        for mut model in in_blocks(&case, &device)? {
            let trained = case.trained(&model.transformer)?.into_iter();
            let masks = trained.map(|(name, indices, _)| (name, indices)).collect();
            let mut sparta = block_on(train_entries(masks, &mut model.transformer, &device))?;
            let mut losses = Vec::new();
            for (step, settings) in (0..).zip(case.steps()?) {
                let batch = case.batch(step as usize)?;
                let model = &mut model.transformer;
                let outcome = optimizer_step(model, &mut sparta, &[batch], step, &settings, step % 2 == 1, &device)?;
                losses.push(values(outcome.loss)[0]);
            }
            let rtol = case.number("rtol")? as f32;
            assert_close(&device.facts.backend, &losses, &case.numbers("losses")?, rtol, 0.0);
        }
    }
    Ok(())
}

/// Steps with a mask that covers the table too: losses, deltas, and all numbers before, with and without the adapter.
fn trained(mut model: Pretrained, device: &ComputeDevice) -> Vec<Vec<f32>> {
    let table = |model: &Pretrained| values(model.transformer.parameters()[0].value().dense());
    let matrices = model.transformer.parameters().into_iter().filter(|p| p.dims.len() == 2);
    let masks = matrices.map(|p| (p.name.clone(), mask::draw(3, &p.name, p.len(), p.len() / 7))).collect();
    let before = table(&model);
    let mut sparta = block_on(train_entries(masks, &mut model.transformer, device)).expect("masks");
    let mut losses = Vec::new();
    for step in 0..6 {
        let (window, settings) = ([batch(&model, step)], optimizer(step as i32 + 1));
        let checkpointing = step % 2 == 1;
        let outcome =
            optimizer_step(&mut model.transformer, &mut sparta, &window, step, &settings, checkpointing, device)
                .expect("a step");
        losses.push(values(outcome.loss)[0]);
    }
    let on = table(&model);
    assert_ne!(on, before);
    sparta.set_applied(&mut model.transformer, false);
    assert_eq!(table(&model), before, "taken off bit for bit");
    sparta.set_applied(&mut model.transformer, true);
    assert_eq!(table(&model), on);
    let deltas = sparta.state(&model.transformer).values.into_iter().flat_map(|(_, tensor)| values(tensor));
    vec![losses, deltas.collect(), on]
}

#[test]
fn a_sparse_table_is_trained_as_the_whole_one_is() {
    for device in devices() {
        for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
            for family in ["llama-tied", "llama-untied-rope3"] {
                let (_kept, folder) = rounded(family, dtype, dtype);
                let whole = Pretrained::load(&folder, &device).expect("a model");
                let mut blocked = Pretrained::load(&folder, &device).expect("a model");
                split(&mut blocked, 11, &device);
                let packed = dtype != Dtype::F32 && !device.is_cpu();
                assert_eq!(blocked.transformer.parameters()[0].value().packing().is_some(), packed);
                assert_eq!((blocks(&whole), blocks(&blocked)), (1, 7));
                let [expected, actual] = [whole, blocked].map(|model| trained(model, &device));
                let what = format!("{family} {dtype:?} {}", device.facts.backend);
                for (part, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
                    // A number in 16 bits may be rounded the other way.
                    let (rtol, atol) = if packed { (1e-2, 1e-3) } else { (1e-3, 1e-4) };
                    assert_close(&format!("{what} {part}"), actual, expected, rtol, atol);
                }
            }
        }
    }
}

fn logits(model: &Pretrained, device: &ComputeDevice) -> Vec<f32> {
    let prepared = Prepared::new(&batch(model, 5), &model.transformer, device);
    let hidden = model.transformer.hidden(prepared.ids.clone(), &prepared.layout);
    values(prepared.logits(&model.transformer, hidden))
}

#[test]
fn a_saved_model_is_loaded_in_blocks_with_the_same_numbers() {
    let place = TestFolder::new();
    for device in devices() {
        for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
            let (_kept, folder) = rounded("llama-tied", dtype, dtype);
            // On the CPU device all is in f32.
            let limit = if dtype == Dtype::F32 || device.is_cpu() { LIMIT } else { LIMIT / 2 };
            let device = narrow(&device, limit);
            let model = Pretrained::load(&folder, &device).expect("a model");
            let out = place.path(&format!("{dtype:?}-{}", device.facts.backend));
            block_on(save::folder(&model, dtype, &out, save::MOST_FILE_BYTES)).expect("a folder");
            assert!(read(&out.join("model.safetensors")).len() > 17_664 * 2);
            let again = Pretrained::load(&out, &device).expect("a model");
            assert_eq!((blocks(&model), blocks(&again)), (2, 2), "{dtype:?}");
            let whole = Pretrained::load(&folder, &narrow(&device, u64::MAX)).expect("a model");
            assert_eq!(logits(&again, &device), logits(&model, &device), "{dtype:?}");
            assert_close(&format!("{dtype:?}"), &logits(&model, &device), &logits(&whole, &device), 1e-4, 1e-4);
        }
    }
}

#[test]
fn a_run_and_its_adapters_are_those_of_the_whole_model() {
    let place = TestFolder::new();
    for device in devices() {
        let name = |what: &str| format!("{what}-{}", device.facts.backend);
        let narrow = narrow(&device, LIMIT);
        let all =
            |out: String| RunConfig { target_modules: names(&["all-linear", "embed_tokens"]), ..place.config(&out) };
        let (_, whole) = train(&all(name("whole")), &device);
        let (run, blocked) = train(&all(name("blocked")), &narrow);
        assert_eq!(blocks(&run.inputs().base), 2);
        let loss = |events: &[agoge::event::Event]| crate::fixture::losses(events);
        assert_close(&name("losses"), &loss(&blocked), &loss(&whole), 2e-3, 0.0);
        assert_eq!(steps(&blocked).len(), 8);
        // Values of all kinds, folded into the blocks and taken off again.
        let full = RunConfig { method: "full".into(), steps: 2, ..place.config(&name("full")) };
        let full = RunConfig { target_modules: List::default(), ..full };
        train(&full, &device);
        let adapters = ["blocked", "full"].map(|what| Adapter::read(&place.path(&name(what))).expect("an adapter"));
        let stacked: Vec<(&Adapter, f32)> = adapters.iter().zip([0.7, 0.5]).collect();
        let [of_blocks, of_whole] = [&narrow, &device].map(|device| {
            let mut base = Pretrained::load(&place.path("model"), device).expect("a model");
            let before = logits(&base, device);
            let count = blocks(&base);
            let stack = AdapterStack::merge(&stacked, &mut base, device).expect("a stack");
            assert_eq!(blocks(&base), count, "what has changed is kept in as many blocks");
            let with = logits(&base, device);
            stack.unmerge(&mut base.transformer);
            assert_eq!(logits(&base, device), before);
            with
        });
        assert_close(&name("folded"), &of_blocks, &of_whole, 1e-3, 1e-3);
    }
}

/// PEFT's low-rank adapter of a head, of rank 2.
fn of_the_head(place: &TestFolder) -> Adapter {
    let config = json!({ "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["lm_head"] });
    let config = place.write("peft/adapter_config.json", &config.to_string());
    let mut stream = Stream::new(6, "low rank");
    let mut factor =
        |dims: [usize; 2]| (dims, save::cast(&normals(&mut stream, dims[0] * dims[1]), Dtype::F32).expect("f32"));
    let factors = [("A", factor([2, 32])), ("B", factor([67, 2]))];
    let views = factors.iter().map(|(name, (dims, bytes))| {
        let view = TensorView::new(Dtype::F32, dims.to_vec(), bytes).expect("a tensor");
        (format!("base_model.model.lm_head.lora_{name}.weight"), view)
    });
    let file = safetensors::serialize(views, None).expect("a file");
    let folder = config.parent().expect("a folder");
    std::fs::write(folder.join("adapter_model.safetensors"), file).expect("written");
    Adapter::read(folder).expect("an adapter")
}

#[test]
fn a_low_rank_change_of_a_head_is_folded_and_trained_in_blocks() {
    let (place, folder) = (TestFolder::new(), Path::new(TINY).with_file_name("llama-untied-rope3"));
    let adapter = of_the_head(&place);
    for device in devices() {
        let devices = [narrow(&device, LIMIT), device.clone()];
        let load = |device: &ComputeDevice| Pretrained::load(&folder, device).expect("a model");
        let [blocked, whole] = devices.each_ref().map(|device| {
            let mut base = load(device);
            let before = logits(&base, device);
            let stack = AdapterStack::merge(&[(&adapter, 1.0)], &mut base, device).expect("a stack");
            let folded = logits(&base, device);
            stack.unmerge(&mut base.transformer);
            assert_eq!(logits(&base, device), before);
            assert_ne!(folded, before);
            // Going on from it: it is trained beside the head.
            let config = RunConfig { method: "lora".into(), lora_dropout: 0.1, ..RunConfig::default() }.method_config();
            let mut setup = Setup::new(&config, device, 0);
            setup.initial = adapter.changes(&base.transformer).expect("deltas");
            let entry = method::find("lora").expect("lora");
            let mut method = block_on(method::start(entry, &mut setup, &mut base.transformer)).expect("a start");
            assert_close("beside", &logits(&base, device), &folded, 1e-4, 1e-4);
            let (window, model) = ([batch(&base, 1)], &mut base.transformer);
            let outcome = optimizer_step(model, &mut method, &window, 0, &optimizer(1), false, device).expect("a step");
            (folded, values(outcome.loss), values(outcome.squared_norm), logits(&base, device))
        });
        let what = &device.facts.backend;
        assert_close(what, &blocked.0, &whole.0, 1e-4, 1e-4);
        assert_close(what, &[blocked.1, blocked.2].concat(), &[whole.1, whole.2].concat(), 1e-3, 0.0);
        assert_close(what, &blocked.3, &whole.3, 1e-2, 2e-2);
    }
}

#[test]
fn masks_by_magnitude_see_all_blocks() {
    let config = RunConfig {
        mask: "magnitude-high".into(),
        target_modules: names(&["embed_tokens"]),
        density: 0.1,
        ..RunConfig::default()
    };
    let chosen = [LIMIT, u64::MAX].map(|limit| {
        let device = narrow(gpu(), limit);
        let mut model = Pretrained::load(Path::new(TINY), &device).expect("a model");
        let (config, entry) = (config.method_config(), method::find("sparta").expect("sparta"));
        let mut setup = Setup::new(&config, &device, 0);
        let method = block_on(method::start(entry, &mut setup, &mut model.transformer)).expect("a start");
        let [(_, indices)] = &method.state(&model.transformer).indices[..] else { panic!("one mask") };
        indices.to_data().iter::<i32>().collect::<Vec<i32>>()
    });
    assert!(chosen[0] == chosen[1] && chosen[0].len() == 214 && chosen[0].iter().any(|at| *at > 48 * 32));
}

#[test]
fn what_cannot_be_done_in_blocks_is_refused_by_name() {
    let said = |limit: u64, method: &str, mask: &str| {
        let device = narrow(gpu(), limit);
        let mut model = Pretrained::load(Path::new(TINY), &device).map_err(|e| e.to_string())?;
        let config = RunConfig {
            method: method.into(),
            mask: mask.into(),
            target_modules: names(&["embed_tokens"]),
            ..RunConfig::default()
        };
        let (config, entry) = (config.method_config(), method::find(method).expect("a method"));
        let mut setup = Setup::new(&config, &device, 0);
        let started = block_on(method::start(entry, &mut setup, &mut model.transformer));
        started.map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(said(LIMIT, "sparta", "random"), Ok(()));
    for (limit, method, mask, words) in [
        (LIMIT - 1, "sparta", "random", &["gate_proj.weight needs", "--device cpu"][..]),
        (127, "sparta", "random", &["embed_tokens.weight needs"]),
        (LIMIT, "full", "random", &["embed_tokens.weight", "as a whole", "--frozen-modules"]),
        (LIMIT, "sparta", "gradient", &["embed_tokens.weight", "by its gradient", "--mask"]),
    ] {
        let refusal = said(limit, method, mask).expect_err("a refusal");
        assert!(words.iter().all(|word| refusal.contains(word)), "{refusal}");
    }
}

#[test]
fn a_random_model_is_made_in_blocks_of_the_same_numbers() {
    let place = TestFolder::new();
    let [blocked, whole] = [LIMIT, u64::MAX].map(|limit| {
        let device = narrow(gpu(), limit);
        let model = Pretrained::random(&place.path("model"), 4, Purpose::LanguageModel, &device).expect("a model");
        (blocks(&model), values(model.transformer.parameters()[0].value().dense()), model.keeping)
    });
    assert_eq!((blocked.0, whole.0), (2, 1));
    assert_eq!((blocked.1, blocked.2), (whole.1, Keeping::F32));
    assert_eq!(row_blocks([67, 32], None, Some(LIMIT)).len(), 2);
    assert!(Role::Embedding.by_rows() && Role::Head.by_rows() && !Role::Linear.by_rows());
}
