//! Classification, methods side by side, and masks: end to end on tiny models.

use std::path::Path;

use agoge::{
    config::{HeadStart, List, RunConfig, Task},
    device::ComputeDevice,
    event::Event,
    method::{adapter::Adapter, change::Change},
    model::{Pretrained, weights::Weights},
};
use serde_json::Value;

use crate::{
    fixture::{
        TestFolder, agoge, assert_each_step_once, drive, losses, names, program, read_text, start, steps, text, train,
    },
    support::devices,
};

const METHODS: [&str; 5] = ["sparta", "lora", "dora", "full", "head"];

/// A short run that tells two classes apart.
fn classifying(place: &TestFolder, model: &str, method: &str) -> RunConfig {
    RunConfig {
        model: place.path(model),
        data: place.path("classes"),
        task: Task::Classify,
        method: method.into(),
        lora_rank: 4,
        target_modules: if matches!(method, "sparta" | "lora" | "dora") {
            names(&["all-linear"])
        } else {
            List(Vec::new())
        },
        steps: 30,
        learning_rate: 1e-2,
        ..place.config(&format!("runs/{model}-{method}"))
    }
}

fn accuracies(events: &[Event]) -> Vec<f64> {
    let of = |event: &Event| match event {
        Event::Evaluated { metrics, .. } => metrics.eval_accuracy,
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn every_method_learns_to_classify_with_decoders_and_encoders() {
    let place = TestFolder::labelled();
    for model in ["model", "bert"] {
        for method in METHODS {
            let config = classifying(&place, model, method);
            let (run, events) = train(&config, &ComputeDevice::cpu());
            let losses = losses(&events);
            assert!(losses[29] < 0.9 * losses[0], "{model} {method}: loss {} to {}", losses[0], losses[29]);
            let trained = run.training().trained();
            let head = run.inputs().base.transformer.head.classifier_names();
            for name in &head {
                let whole = trained.iter().find(|tensor| tensor.name == *name).expect("the head is trained");
                assert_eq!(whole.trained, whole.shape.iter().product::<usize>(), "{model} {method} {name}");
            }
            assert_eq!(trained.len() == head.len(), method == "head");
            let adapter = Adapter::read(&config.out).expect("an adapter");
            assert_eq!(adapter.info.classify.as_ref().expect("classes").classes, ["plain", "rich"]);

            // What the run saw is what the program finds with the adapter, and with the merged model.
            let last = *accuracies(&events).last().expect("an evaluation");
            let merged = place.path(&format!("merged-{model}-{method}"));
            let base = ["--model", text(&config.model), "--adapter", text(&config.out), "--device", "cpu"];
            agoge(&[&["merge"], &base[..], &["--out", text(&merged), "--dtype", "f32"]].concat());
            let data = place.path("classes");
            let ways = [base.to_vec(), vec!["--model", text(&merged), "--device", "cpu"]];
            let figures = ways.map(|way| {
                let output = agoge(&[&["evaluate"], &way[..], &["--data", text(&data), "--json"]].concat());
                serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
            });
            // The folder holds the adapter with the best loss, which need not be the last.
            let best = accuracies(&events).into_iter().fold(0.0, f64::max);
            for figures in &figures {
                let accuracy = figures["accuracy"].as_f64().expect("an accuracy");
                assert!(accuracy >= last.min(best) - 0.2, "{model} {method}: {accuracy} after {last}");
                assert_eq!(figures["confusion"].as_array().map(Vec::len), Some(2));
            }
            let losses = figures.map(|figures| figures["loss"].as_f64().expect("a loss"));
            assert!((losses[0] - losses[1]).abs() < 1e-4, "{model} {method}: {losses:?}");
        }
    }
}

#[test]
fn classify_tells_probabilities() {
    let place = TestFolder::labelled();
    let config = classifying(&place, "bert", "full");
    train(&config, &ComputeDevice::cpu());
    let base = ["classify", "--model", text(&config.model), "--adapter", text(&config.out), "--device", "cpu"];
    let output = agoge(&[&base[..], &["--json", "a gold 1", "he saw iron 2"]].concat());
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!([&lines[0]["class"], &lines[1]["class"]], ["rich", "plain"]);
    for line in &lines {
        let sum: f64 = line["probabilities"].as_object().expect("an object").values().filter_map(Value::as_f64).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{line}");
    }
    let shown = agoge(&[&base[..], &["a gold 1"]].concat());
    let shown = String::from_utf8(shown.stdout).expect("UTF-8");
    assert!(shown.contains("rich  a gold 1") && shown.contains('%'), "{shown}");
}

#[test]
fn classifiers_and_low_rank_runs_resume_exactly() {
    let place = TestFolder::labelled();
    let device = ComputeDevice::cpu();
    for method in METHODS {
        let whole = RunConfig { lora_dropout: 0.1, ..classifying(&place, "model", method) };
        let (run, events) = train(&whole, &device);
        let halved = RunConfig { out: place.path(&format!("runs/halved-{method}")), ..whole.clone() };
        let mut first = start(&halved, &device, false);
        let mut both = drive(&mut first, Some(11));
        drop(first);
        let mut second = start(&halved, &device, true);
        both.extend(drive(&mut second, None));
        assert_eq!(steps(&both), steps(&events), "{method}");
        assert_each_step_once(&halved.out, 30);
        drop(run);
        for file in ["adapter.safetensors", "adapter.json"] {
            assert_eq!(
                read_text_lossy(&whole.out.join(file)),
                read_text_lossy(&halved.out.join(file)),
                "{method} {file}"
            );
        }
    }
}

fn read_text_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).expect("a file")).into_owned()
}

#[test]
fn a_head_starts_from_the_vocabulary() {
    let place = TestFolder::labelled();
    let config = RunConfig {
        head_start: HeadStart::FromVocabulary,
        response_words: List(vec!["p".into(), "r".into()]),
        template: "{text}: ".into(),
        ..classifying(&place, "model", "head")
    };
    let run = start(&config, &ComputeDevice::cpu(), false);
    let tokenizer = &run.inputs().tokenizer;
    let table = Weights::open(&config.model).expect("weights").floats("model.embed_tokens.weight").expect("a table");
    let row = |word: &str| {
        let id = tokenizer.encode(word, false).expect("ids")[0] as usize;
        table[id * 32..(id + 1) * 32].to_vec()
    };
    let head =
        run.inputs().base.transformer.parameters().into_iter().find(|p| p.name == "score.weight").expect("a head");
    let values: Vec<f32> = head.value().dense().to_data().iter::<f32>().collect();
    assert_eq!(values, [row("p"), row("r")].concat());
}

#[test]
fn masks_are_chosen_as_asked_on_both_devices() {
    for device in devices() {
        let place = TestFolder::new();
        let original = Weights::open(&place.path("model")).expect("weights");
        let mut chosen = Vec::new();
        for mask in ["random", "magnitude-low", "magnitude-high", "gradient"] {
            let config = RunConfig { mask: mask.into(), ..place.config(&format!("runs/{mask}")) };
            let (run, events) = train(&config, &device);
            let losses = losses(&events);
            assert!(losses[7] < losses[0], "{mask}: {losses:?}");
            let adapter = Adapter::read(&config.out).expect("an adapter");
            let mut values = Vec::new();
            for change in adapter.changes(&run.inputs().base.transformer).expect("deltas") {
                let Change::Sparse { indices, .. } = change.change else { panic!("{mask} is sparse") };
                let stored = original.floats(&change.name).expect("a tensor");
                assert_eq!(indices.len(), (0.1 * stored.len() as f64).round() as usize, "{mask} {}", change.name);
                values.extend(indices.iter().map(|&index| f64::from(stored[index as usize].abs())));
            }
            chosen.push(values.iter().sum::<f64>() / values.len() as f64);

            // A resumed run keeps its mask.
            let halved = RunConfig { out: place.path(&format!("runs/halved-{mask}")), ..config.clone() };
            drive(&mut start(&halved, &device, false), Some(4));
            drive(&mut start(&halved, &device, true), None);
            assert_eq!(
                read_text_lossy(&config.out.join("adapter.json")),
                read_text_lossy(&halved.out.join("adapter.json"))
            );
        }
        assert!(chosen[1] < 0.2 * chosen[0] && chosen[2] > 2.0 * chosen[0], "{chosen:?}");
    }
}

#[test]
fn a_run_goes_on_from_an_adapter_of_another_program() {
    let place = TestFolder::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (folder, method) in [
        ("train-lora/adapter-peft", "lora"),
        ("../golden-methods/train-dora/adapter-peft", "dora"),
        ("train-shira/adapter-peft", "sparta"),
        ("train-sparta/adapter-peft-sparta", "sparta"),
    ] {
        let config = RunConfig {
            init_adapter: golden.join(folder),
            method: method.into(),
            model: golden.join("train-lora"),
            ..place.config(&format!("runs/{}", folder.replace('/', "-")))
        };
        // The golden folders have no tokenizer of their own.
        let model = place.path("base");
        std::fs::create_dir_all(&model).expect("base/");
        for (from, name) in [(&config.model, "config.json"), (&config.model, "model.safetensors")] {
            std::fs::copy(from.join(name), model.join(name)).expect(name);
        }
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(place.path("model").join(name), model.join(name)).expect(name);
        }
        let config = RunConfig { model: model.clone(), ..config };
        let (_, events) = train(&config, &ComputeDevice::cpu());
        let mut base = Pretrained::load(&model, &ComputeDevice::cpu()).expect("a model");
        Adapter::read(&config.init_adapter)
            .expect("an adapter")
            .apply(&mut base, &ComputeDevice::cpu())
            .expect("applied");
        let output = agoge(&[
            "evaluate",
            "--model",
            text(&model),
            "--adapter",
            text(&config.init_adapter),
            "--data",
            text(&config.data),
            "--device",
            "cpu",
            "--json",
            "--batch-size",
            "4",
        ]);
        let figures: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let Some(Event::Evaluated { metrics, .. }) =
            events.iter().find(|event| matches!(event, Event::Evaluated { .. }))
        else {
            panic!("an evaluation before the first step")
        };
        let (before, told) = (metrics.eval_loss.expect("a loss"), figures["loss"].as_f64().expect("a loss"));
        assert!((before - told).abs() < 1e-4, "{folder}: starts at {before}, the adapter gives {told}");
        let other = if method == "lora" { "sparta" } else { "lora" };
        let refused = program(&[
            "train",
            "--model",
            text(&model),
            "--data",
            text(&config.data),
            "--out",
            text(&place.path("runs/no")),
            "--device",
            "cpu",
            "--steps",
            "1",
            "--method",
            other,
            "--init-adapter",
            text(&config.init_adapter),
        ]);
        let refused = { refused }.output().expect("the program");
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && message.contains(&format!("--method {other} does not train")),
            "{message}"
        );
    }
}

#[test]
fn compare_makes_a_table_figures_and_a_picture() {
    let place = TestFolder::labelled();
    let out = place.path("compared");
    let (model, data) = (place.path("bert"), place.path("classes"));
    let line = [
        "compare",
        "--model",
        text(&model),
        "--data",
        text(&data),
        "--out",
        text(&out),
        "--device",
        "cpu",
        "--task",
        "classify",
        "--methods",
        "sparta,lora,full,head",
        "--match-trainable",
        "--seeds",
        "1,2",
        "--steps",
        "6",
        "--batch-size",
        "4",
        "--lora-rank",
        "2",
        "--set",
        "lora.learning_rate=2e-2",
        "--set",
        "sparta.target_modules=all-linear",
    ];
    let first = agoge(&line);
    let table = String::from_utf8(first.stdout).expect("UTF-8");
    for word in ["sparta", "lora", "full", "head", "test accuracy", "±", "compare.svg"] {
        assert!(table.contains(word), "'{word}' is not in\n{table}");
    }
    let figures: Value = serde_json::from_str(&read_text(&out.join("compare.json"))).expect("JSON");
    let runs = figures["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 8);
    let trained = |method: &str| {
        runs.iter()
            .find(|run| run["method"] == method)
            .and_then(|run| run["trained_in_body"].as_u64())
            .expect("a count")
    };
    assert_eq!(trained("sparta"), trained("lora"));
    assert_eq!(trained("head"), 0);
    assert!(trained("full") > trained("lora"));
    let rate = |method: &str| runs.iter().find(|run| run["method"] == method).expect("a run")["learning_rate"].clone();
    assert_eq!((rate("lora"), rate("sparta")), (2e-2.into(), 5e-3.into()));
    assert!(read_text(&out.join("compare.svg")).contains("validation"));

    // A second call takes over what is complete, and says the same.
    let second = agoge(&line);
    assert_eq!(String::from_utf8(second.stdout).expect("UTF-8"), table);
    assert!(String::from_utf8_lossy(&second.stderr).matches("complete already").count() == 8);
}

#[test]
fn a_classifier_passes_through_the_layout_of_the_sparta_package() {
    let place = TestFolder::labelled();
    let config = classifying(&place, "model", "sparta");
    train(&config, &ComputeDevice::cpu());
    let out = place.path("exported");
    agoge(&[
        "export",
        "--model",
        text(&config.model),
        "--adapter",
        text(&config.out),
        "--format",
        "sparta",
        "--out",
        text(&out),
    ]);
    let described: Value = serde_json::from_str(&read_text(&out.join("config.json"))).expect("JSON");
    assert_eq!(described["problem_type"], "single_label_classification");
    assert_eq!(described["id2label"]["1"], "rich");
    let losses = [&config.out, &out].map(|adapter| {
        let data = place.path("classes");
        let base = ["evaluate", "--model", text(&config.model), "--adapter", text(adapter), "--device", "cpu"];
        let output = agoge(&[&base[..], &["--data", text(&data), "--json"]].concat());
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["loss"].as_f64().expect("a loss")
    });
    assert!((losses[0] - losses[1]).abs() < 1e-6, "{losses:?}");

    // Newer versions of the package keep the start of the head as safetensors.
    let start = vec![0u8; 4 * 2 * 32];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2, 32], &start).expect("a view");
    let bytes = safetensors::serialize([("head", view)], None).expect("safetensors");
    std::fs::remove_file(out.join("head_init.pt")).expect("the start that was exported");
    std::fs::write(out.join("head_init.safetensors"), bytes).expect("a file");
    let mut base =
        Pretrained::load_for(&config.model, Adapter::read(&out).expect("an adapter").purpose(), &ComputeDevice::cpu())
            .expect("a model");
    Adapter::read(&out).expect("an adapter").apply(&mut base, &ComputeDevice::cpu()).expect("applied");
    let head = base.transformer.parameters().into_iter().find(|p| p.name == "score.weight").expect("a head");
    let values: Vec<f32> = head.value().dense().to_data().iter::<f32>().collect();
    let own = Adapter::read(&config.out).expect("an adapter").weights.floats("score.weight").expect("the head");
    assert_eq!(values, own);

    // BERT's head is not one that the package knows.
    let bert = classifying(&place, "bert", "sparta");
    train(&bert, &ComputeDevice::cpu());
    let refused = program(&[
        "export",
        "--model",
        text(&bert.model),
        "--adapter",
        text(&bert.out),
        "--format",
        "sparta",
        "--out",
        text(&place.path("no")),
    ])
    .output()
    .expect("the program");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && message.contains("classifier.") && message.contains("agoge"), "{message}");
}
