//! Whole runs in this process: exact resuming, reproducibility, gradient accumulation, early stopping, and learning on
//! real data.

use agoge::{
    config::{GradCheckpointing, Quantize, RunConfig, Schedule, Task},
    device::ComputeDevice,
    event::{Command, Ending, Event},
    method::{self, Calibrate, METHODS, MethodEntry, Pending, Setup, Training, adapter::Adapter},
    model::{Pretrained, Transformer},
    train::{checkpoint, evaluate::evaluate},
};
use pollster::block_on;

use crate::{
    fixture::{
        TestFolder, adapter_tensors, assert_each_step_once, drive, evaluations, losses, metrics, names, read, rows,
        shared, start, steps, train,
    },
    support::{assert_close, devices},
};

/// Trains once straight and once stopped after `stop` steps and resumed; everything that is left must be the same.
fn assert_resumes_exactly(what: &str, device: &ComputeDevice, stop: u64, change: impl Fn(&mut RunConfig)) {
    assert_resumes_exactly_in(&TestFolder::new(), what, device, stop, change);
}

fn assert_resumes_exactly_in(
    place: &TestFolder,
    what: &str,
    device: &ComputeDevice,
    stop: u64,
    change: impl Fn(&mut RunConfig),
) {
    let what = format!("{what} on {}", device.facts.backend);
    let (mut straight, mut resumed) = (place.config("straight"), place.config("resumed"));
    change(&mut straight);
    change(&mut resumed);

    let (run, whole) = train(&straight, device);
    let mut parts = drive(&mut start(&resumed, device, false), Some(stop));
    let halt = parts.last().expect("events");
    assert!(matches!(halt, Event::Finished { ending: Ending::Stopped, step, .. } if *step == stop), "{what}: {halt:?}");
    let mut again = start(&resumed, device, true);
    parts.extend(drive(&mut again, None));

    assert_eq!(steps(&parts), steps(&whole), "{what}: losses and gradient norms");
    assert_eq!(evaluations(&parts), evaluations(&whole), "{what}: evaluations");
    for file in ["adapter.safetensors", "adapter.json"] {
        assert_eq!(read(&resumed.out.join(file)), read(&straight.out.join(file)), "{what}: {file}");
    }
    let last = steps(&whole).len() as u64;
    let state = format!("checkpoints/step-{last:08}/state.safetensors");
    assert_eq!(read(&resumed.out.join(&state)), read(&straight.out.join(&state)), "{what}: deltas and moments");
    let weights = crate::fixture::weights;
    assert_eq!(weights(&again.inputs().base), weights(&run.inputs().base), "{what}: weights");
    assert_each_step_once(&straight.out, last);
    assert_each_step_once(&resumed.out, last);
}

#[test]
fn a_resumed_run_is_the_same_run() {
    for device in devices() {
        assert_resumes_exactly("sparta", &device, 4, |_| {});
        assert_resumes_exactly("reports of three steps", &device, 6, |config| {
            (config.logging_steps, config.save_steps, config.weight_decay) = (3, 5, 0.1);
        });
        // 23 rows in batches of 5 are 5 batches an epoch, 10 in all: windows of 3, 3, 3 and 1.
        assert_resumes_exactly("accumulation over epochs", &device, 2, |config| {
            (config.steps, config.epochs, config.batch_size, config.grad_accumulation_steps) = (0, 2, 5, 3);
        });
        assert_resumes_exactly("gradient checkpointing", &device, 4, |config| {
            config.grad_checkpointing = GradCheckpointing::On;
        });
        assert_resumes_exactly("full", &device, 4, |config| {
            (config.method, config.target_modules) = ("full".into(), names(&[]));
        });
    }
}

/// Every method, started from an adapter of its own: 20 steps without a break, and 10 and 10.
fn assert_resume_from_adapters(
    what: &str,
    device: &ComputeDevice,
    entries: &[MethodEntry],
    change: impl Fn(&mut RunConfig),
) {
    for entry in entries {
        let place = TestFolder::labelled();
        let settings = |config: &mut RunConfig| {
            (config.method, config.lora_rank, config.eval_steps) = (entry.name.into(), 4, 0);
            (config.task, config.data, config.steps) = (Task::Classify, place.path("classes"), 20);
            if entry.budget.is_none() {
                (config.target_modules, config.density) = (names(&[]), 0.0);
            }
            change(config);
        };
        let mut first = place.config("first");
        settings(&mut first);
        first.steps = 3;
        train(&first, device);
        assert_resumes_exactly_in(&place, &format!("{what}: {}", entry.name), device, 10, |config| {
            settings(config);
            config.init_adapter = first.out.clone();
        });
    }
}

#[test]
fn a_resumed_run_that_began_with_an_adapter_is_the_same_run() {
    let sparse: Vec<_> = METHODS.iter().filter(|entry| entry.reads("mask")).collect();
    assert!(!sparse.is_empty());
    for device in devices() {
        assert_resume_from_adapters("from an adapter", &device, METHODS, |_| {});
        if !device.is_cpu() {
            // On the CPU device all weights are in f32.
            assert_resume_from_adapters("quantized", &device, METHODS, |config| config.quantize = Quantize::Q8);
        }
    }
}

#[test]
fn a_resumed_run_keeps_a_stored_mask() {
    for device in devices() {
        for mask in ["magnitude-low", "magnitude-high", "gradient"] {
            let masked = |config: &mut RunConfig| (config.mask, config.steps) = (mask.into(), 12);
            assert_resumes_exactly(mask, &device, 6, masked);
            if !device.is_cpu() {
                assert_resumes_exactly(&format!("{mask}, quantized"), &device, 6, |config| {
                    masked(config);
                    config.quantize = Quantize::Q8;
                });
            }
        }
    }
    // From an adapter whose masks are stored.
    let place = TestFolder::new();
    let first = RunConfig { mask: "gradient".into(), steps: 3, ..place.config("first") };
    for device in devices() {
        let first = RunConfig { out: place.path(&device.facts.backend), ..first.clone() };
        train(&first, &device);
        assert_resumes_exactly("from stored masks", &device, 10, |config| {
            (config.init_adapter, config.steps) = (first.out.clone(), 20);
        });
    }
}

/// A look at the data that must not happen.
struct Never;

impl Calibrate for Never {
    fn gradients<'a>(&'a self, _: &'a mut Transformer, _: &'a [String]) -> Pending<'a, Vec<Vec<f32>>> {
        panic!("the mask is in the checkpoint")
    }
}

#[test]
fn a_mask_by_gradients_is_not_chosen_again_on_resume() {
    let place = TestFolder::new();
    let config = RunConfig { mask: "gradient".into(), steps: 2, ..place.config("out") };
    let device = ComputeDevice::cpu();
    let (run, _) = train(&config, &device);
    let (_, newest) = checkpoint::list(&config.out.join("checkpoints")).pop().expect("a checkpoint");
    let (_, state) = checkpoint::read(&newest).expect("a whole checkpoint");
    let mut base = Pretrained::load(&config.model, &device).expect("a model");
    let method_config = config.method_config();
    let mut setup = Setup::new(&method_config, &device, config.seed);
    setup.calibrate = Some(&Never);
    setup.state = Some(&state);
    let entry = method::find(&config.method).expect("a method");
    let resumed = block_on(method::start(entry, &mut setup, &mut base.transformer)).expect("a start");
    let masks = |training: &Training, base: &Pretrained| -> Vec<Vec<i32>> {
        let indices = training.state(&base.transformer).indices.into_iter();
        indices.map(|(_, indices)| indices.to_data().iter::<i32>().collect()).collect()
    };
    assert_eq!(masks(&resumed, &base), masks(run.training(), &run.inputs().base));
    assert_eq!(crate::fixture::weights(&base), crate::fixture::weights(&run.inputs().base));
}

#[test]
fn recomputation_changes_nothing_but_memory() {
    let place = TestFolder::new();
    for device in devices() {
        for (method, lora_dropout) in
            [("sparta", 0.0), ("lora", 0.0), ("lora", 0.3), ("dora", 0.0), ("dora", 0.3), ("full", 0.0)]
        {
            let run = |grad_checkpointing| {
                let out =
                    place.path(&format!("{method}-{lora_dropout}-{grad_checkpointing:?}-{}", device.facts.backend));
                let method = method.to_owned();
                let base = RunConfig { grad_checkpointing, method, lora_dropout, ..place.config("") };
                let density = if base.method == "sparta" { 0.1 } else { 0.0 };
                train(&RunConfig { out, density, steps: 4, grad_accumulation_steps: 2, ..base }, &device).1
            };
            let (whole, again) = (run(GradCheckpointing::Off), run(GradCheckpointing::On));
            assert_close(&format!("{method}, dropout {lora_dropout}"), &losses(&again), &losses(&whole), 1e-4, 1e-5);
        }
    }
}

#[test]
fn the_last_window_of_an_epoch_run_is_partial() {
    let place = TestFolder::new();
    let config = RunConfig { steps: 0, epochs: 2, batch_size: 5, grad_accumulation_steps: 3, ..place.config("out") };
    let (run, events) = train(&config, &ComputeDevice::cpu());
    assert_eq!(steps(&events).len(), 4);
    let all: u64 = 2 * run.inputs().dataset.train.tokens() as u64;
    assert_eq!(metrics(&config.out).last().expect("lines").tokens, all, "every row twice, no row more often");
}

#[test]
fn resuming_a_finished_run_adds_nothing() {
    let device = ComputeDevice::cpu();
    for (eval_steps, save_steps) in [(3, 0), (0, 4), (2, 4)] {
        let place = TestFolder::new();
        let config = RunConfig { steps: 4, eval_steps, save_steps, ..place.config("out") };
        let (_, events) = train(&config, &device);
        let best = match events.last() {
            Some(Event::Finished { best_eval, .. }) => *best_eval,
            other => panic!("{other:?}"),
        };
        let (_, newest) = checkpoint::list(&config.out.join("checkpoints")).pop().expect("a checkpoint");
        let (progress, _) = checkpoint::read(&newest).expect("a whole checkpoint");
        assert_eq!(progress.best_eval, best, "the checkpoint knows the best evaluation");
        let before = (metrics(&config.out), read(&config.out.join("adapter.safetensors")));

        let events = drive(&mut start(&config, &device, true), None);
        assert!(steps(&events).is_empty() && evaluations(&events).is_empty(), "{events:?}");
        assert!((metrics(&config.out), read(&config.out.join("adapter.safetensors"))) == before);

        // With more steps it goes on, and remembers the best loss of all its evaluations.
        let more = RunConfig { steps: 6, ..config.clone() };
        let events = drive(&mut start(&more, &device, true), None);
        assert_each_step_once(&config.out, 6);
        let judged = metrics(&config.out).into_iter().filter(|m| m.step > 0).filter_map(|m| m.eval_loss);
        let least = judged.fold(f64::INFINITY, f64::min) as f32;
        let best = events.last().and_then(|event| match event {
            Event::Finished { best_eval, .. } => best_eval.map(|(loss, _)| loss as f32),
            _ => None,
        });
        assert_eq!(best, Some(least));
    }
}

#[test]
fn a_padding_id_outside_the_vocabulary_is_as_good_as_any() {
    for device in devices() {
        let place = TestFolder::new();
        let path = place.path("model/config.json");
        let mut json: serde_json::Value = serde_json::from_slice(&read(&path)).expect("JSON");
        let mut told = Vec::new();
        for pad in [None, Some(67u32), Some(1_000_000), Some(u32::MAX)] {
            json["pad_token_id"] = pad.into();
            std::fs::write(&path, json.to_string()).expect("written");
            let out = place.path(&format!("out-{pad:?}"));
            let (run, events) = train(&RunConfig { out, steps: 3, ..place.config("") }, &device);
            let rows: Vec<usize> = run.inputs().dataset.train.lengths();
            assert!(rows.iter().min() < rows.iter().max(), "rows of one length need no padding");
            told.push((steps(&events), evaluations(&events)));
        }
        assert!(told.iter().all(|one| *one == told[0]), "{}: {told:?}", device.facts.backend);
    }
}

#[test]
fn commands_are_obeyed_and_remembered() {
    let device = ComputeDevice::cpu();
    let place = TestFolder::new();
    let config = RunConfig { schedule: Schedule::Constant, ..place.config("out") };
    let mut run = start(&config, &device, false);
    let mut saved = Vec::new();
    while let Some(event) = block_on(run.next()).expect("no failure") {
        match event {
            Event::Step(metrics) if metrics.step == 2 => run.tell(Command::SetLearningRate(1e-4)),
            Event::Step(metrics) if metrics.step == 4 => run.tell(Command::Save),
            Event::Step(metrics) if metrics.step == 6 => run.tell(Command::Stop),
            Event::Saved { step, .. } => saved.push(step),
            _ => {}
        }
    }
    assert_eq!(saved, [5, 6], "a command is obeyed with the step after it");
    drive(&mut start(&config, &device, true), None);
    let rates: Vec<f64> = metrics(&config.out).iter().filter_map(|metrics| metrics.learning_rate).collect();
    assert_eq!(rates, [5e-3, 5e-3, 1e-4, 1e-4, 1e-4, 1e-4, 1e-4, 1e-4]);
}

#[test]
fn seeds_decide_everything() {
    let place = TestFolder::new();
    let adapter = |out: &str, seed: u64, device: &ComputeDevice| {
        let config = RunConfig { seed, explicit_indices: true, ..place.config(out) };
        train(&config, device);
        let tensors = adapter_tensors(&config.out);
        let masks: Vec<_> = tensors.names().filter(|name| name.ends_with(".indices")).map(str::to_owned).collect();
        assert_eq!(masks.len(), 14);
        let masks: Vec<_> = masks.iter().map(|name| tensors.indices(name).expect("indices")).collect();
        (read(&config.out.join("adapter.safetensors")), masks)
    };
    for (at, device) in devices().into_iter().enumerate() {
        let (first, masks) = adapter(&format!("first{at}"), 7, &device);
        let (second, _) = adapter(&format!("second{at}"), 7, &device);
        let (_, others) = adapter(&format!("other{at}"), 8, &device);
        assert!(first == second, "{}: the same seed gives the same bytes", device.facts.backend);
        for (mask, other) in masks.iter().zip(&others) {
            assert!(mask.len() == other.len() && mask != other, "another seed, another mask of the same size");
        }
    }
}

#[test]
fn four_small_batches_are_one_large_one() {
    let place = TestFolder::new();
    place.write("eight/train.jsonl", &rows(0, 8));
    for device in devices() {
        let go = |out: &str, batch_size: usize, grad_accumulation_steps: usize, learning_rate: f64| {
            let config = RunConfig {
                data: place.path("eight"),
                out: place.path(&format!("{out}-{}", device.facts.backend)),
                batch_size,
                grad_accumulation_steps,
                learning_rate,
                schedule: Schedule::Constant,
                steps: 4,
                ..place.config("")
            };
            let (run, events) = train(&config, &device);
            (run, events, config)
        };
        let (run, large, config) = go("large", 8, 1, 1e-3);
        let (_, small, other) = go("small", 2, 4, 1e-3);
        let data = &run.inputs().dataset.train;
        let targets: Vec<usize> =
            (0..8).map(|at| data.row(at).targets.iter().filter(|&&target| target).count()).collect();
        assert!(targets.iter().max() > Some(&(3 * targets.iter().min().expect("rows"))), "{targets:?}");

        assert_close("losses", &losses(&small), &losses(&large), 1e-5, 0.0);
        let norms = |events| steps(events).into_iter().map(|step| f64::from_bits(step.2) as f32).collect::<Vec<_>>();
        assert_close("gradient norms", &norms(&small), &norms(&large), 1e-4, 0.0);
        let (expected, actual) = (adapter_tensors(&config.out), adapter_tensors(&other.out));
        for name in expected.names() {
            let floats = |weights: &agoge::model::weights::Weights| weights.floats(name).expect("deltas");
            // Four steps move a number by at most 4e-3.
            assert_close(name, &floats(&actual), &floats(&expected), 1e-2, 2e-5);
        }

        // The mean of the four batches' own means is something else, so the comparison above means something.
        let (_, apart, _) = go("apart", 2, 1, 1e-12);
        let naive = losses(&apart).iter().sum::<f32>() / 4.0;
        assert!((naive - losses(&large)[0]).abs() > 1e-3, "{naive} {}", losses(&large)[0]);
    }
}

#[test]
fn early_stopping_keeps_the_best_adapter() {
    let device = ComputeDevice::cpu();
    let place = TestFolder::new();
    place.write("few/train.jsonl", &rows(0, 3));
    place.write("few/valid.jsonl", &rows(41, 6));
    let config = RunConfig {
        data: place.path("few"),
        learning_rate: 2e-2,
        schedule: Schedule::Constant,
        density: 0.5,
        steps: 200,
        eval_steps: 2,
        patience: 3,
        ..place.config("out")
    };
    let (run, events) = train(&config, &device);
    let Some(Event::Finished { ending: Ending::EarlyStop, step, best_eval: Some((best, at)), .. }) = events.last()
    else {
        panic!("{:?}", events.last());
    };
    assert_eq!(*step, at + 6, "three evaluations, two steps apart, without a better loss");
    assert!(*at > 2 && *step < 200, "the best loss at step {at} of {step}");
    let judged = evaluations(&events);
    assert!(judged[1..].iter().all(|(_, loss)| loss >= best) && judged.contains(&(*at, *best)), "{judged:?}");
    let last = judged.last().expect("evaluations").1;
    assert!(last > best + 0.01, "{last} {best}");

    let mut base = Pretrained::load(&config.model, &device).expect("a model");
    Adapter::read(&config.out).expect("an adapter").apply(&mut base, &device).expect("its own model");
    let valid = run.inputs().dataset.valid.as_ref().expect("validation rows");
    let again = block_on(evaluate(&base, valid, config.batch_size, 0, &device)).expect("a loss");
    assert_eq!(again.loss, *best, "the adapter in the folder is that of step {at}");
}

#[test]
fn a_real_model_learns_real_text() {
    let (Some(model), Some(data)) = (shared("models/stories260K"), shared("data/shakespeare")) else { return };
    let place = TestFolder::new();
    let config = RunConfig {
        model,
        data,
        sparsity: 0.99,
        density: 0.0,
        learning_rate: 2e-3,
        schedule: Schedule::Constant,
        steps: 60,
        batch_size: 8,
        max_seq_length: 128,
        eval_steps: 0,
        eval_batches: 6,
        logging_steps: 10,
        ..place.config("out")
    };
    let (run, events) = train(&config, &ComputeDevice::cpu());
    let trained: usize = run.training().trained().iter().map(|tensor| tensor.trained).sum();
    assert_eq!(trained, 2600, "1 % of 260,032");
    let judged = evaluations(&events);
    let [(0, before), (60, after)] = judged[..] else { panic!("{judged:?}") };
    println!("validation loss {before:.4} before and {after:.4} after");
    assert!(before - after >= 0.9, "validation loss {before:.4} before and {after:.4} after");
}
