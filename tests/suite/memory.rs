//! The estimate of a run's memory: against the allocator's own figures, its advice, budgets, and the plan that it counts.

use std::{path::Path, process::Output};

use agoge::{
    config::{GradCheckpointing, Overrides, RunConfig},
    device::{ComputeDevice, DeviceFacts},
    event::{Event, messages::Estimate},
    method::{self, Setup},
    model::{Pretrained, Transformer, classifier::Purpose, head::HeadKind, pretrained::read_architecture, save},
    train::estimate::{PAGES, Rows, estimate},
};
use clap::Parser;
use pollster::block_on;
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::{
    fixture::{TINY, TestFolder, drive, names, program, shared, start, text},
    support::{gpu, say},
};

/// Bytes in use (with what aligns them) and held at most, for each time that the program emptied the allocator's pages, as
/// the allocator logged them at every reservation.
fn logged(log: &Path) -> Vec<(f64, f64)> {
    const MEMORIES: [&str; 2] = ["[Main GPU Memory]", "[Uniform GPU Memory]"];
    let amount = |line: &str| {
        let (number, unit) = line.split_once(':').expect("a figure").1.trim().split_once(' ').expect("with a unit");
        let factor = match unit {
            "B" => 1.0,
            "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            other => panic!("{other} in {line}"),
        };
        factor * number.parse::<f64>().expect("a number")
    };
    let (mut all, mut emptied) = (Vec::new(), false);
    // What each memory holds now, and which of them the lines are about.
    let (mut held, mut memory, mut in_use) = ([0.0; MEMORIES.len()], None, 0.0);
    for line in std::fs::read_to_string(log).expect("the allocator's log").lines() {
        if line.starts_with("Manual memory cleanup") {
            if !emptied {
                all.push((0.0f64, 0.0f64));
            }
            (memory, emptied, held) = (None, true, [0.0; MEMORIES.len()]);
        } else if line.contains("current usage") {
            memory = MEMORIES.iter().position(|name| line.starts_with(name));
            emptied = false;
        } else if let (Some(last), Some(memory)) = (all.last_mut(), memory) {
            if line.starts_with("  Bytes in use:") {
                in_use = amount(line);
            } else if line.starts_with("  Bytes used for padding:") && memory == 0 {
                last.0 = last.0.max(in_use + amount(line));
            } else if line.starts_with("  Total bytes reserved:") {
                held[memory] = amount(line);
                last.1 = last.1.max(held.iter().sum());
            }
        }
    }
    all.retain(|(in_use, _)| *in_use > 0.0);
    all
}

/// How far an estimate may be off, as a share.
const CLOSE: f64 = 0.02;

/// Takes real steps in a process of their own and compares the allocator's log with the estimates.
fn assert_estimated(arguments: &[&str]) {
    let place = TestFolder::new();
    place.write("cubecl.toml", "[memory.logger]\nlevel = \"full\"\nfile = \"memory.log\"\n");
    let folder = place.path("");
    let mut command = program(&[&["bench", "step", "--json"], arguments].concat());
    let output = command.current_dir(&folder).output().expect("the program");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = told["rows"].as_array().expect("rows");
    let mut measured = logged(&folder.join("memory.log"));
    if measured.len() == rows.len() + 1 {
        // Where the ways to multiply were measured first, the pages were emptied once more, in the first case.
        let (in_use, held) = measured.remove(0);
        measured[0] = (in_use.max(measured[0].0), held.max(measured[0].1));
    }
    assert_eq!(measured.len(), rows.len(), "{arguments:?}");
    for (at, (row, (in_use, held))) in rows.iter().zip(measured).enumerate() {
        let estimate: Estimate = serde_json::from_value(row["estimate"].clone()).expect("an estimate");
        let pages = estimate.parts.iter().find(|(name, _)| name == PAGES).map_or(0, |(_, bytes)| *bytes);
        let (estimated, total) = ((estimate.total_bytes - pages) as f64, estimate.total_bytes as f64);
        let what = format!("{} {} {}", row["method"], row["batch_size"], row["recomputed"]);
        let off = |estimated: f64, measured: f64| 100.0 * (estimated / measured - 1.0);
        say(&format!(
            "{what:<20} in use {in_use:>10} estimate {estimated:>10} ({:+.1} %)  held {held:>10} estimate {total:>10} ({:+.1} %)",
            off(estimated, in_use),
            off(total, held)
        ));
        assert!((estimated / in_use - 1.0).abs() < CLOSE, "{what}: {estimated} in use, measured {in_use}");
        // Later cases begin with the page size that earlier ones of the same process have left.
        assert!(at > 0 || (total / held - 1.0).abs() < CLOSE, "{what}: {total} held, measured {held}");
    }
}

#[test]
fn the_estimate_is_what_the_allocator_has_in_use() {
    gpu();
    assert_estimated(&["--batch-sizes", "2,8"]);
    assert_estimated(&["--batch-sizes", "4", "--grad-accumulation-steps", "3", "--target-modules", "all-linear"]);
    // A head of its own to train alone has only the classifier.
    let families = ["gpt2", "gemma2", "gemma3", "qwen3"].map(|family| (family, &["--methods", "sparta,lora,full"][..]));
    let classifier = ["--methods", "sparta,lora,full,head", "--classes", "3"];
    for (family, more) in families.into_iter().chain([("bert-classify", &classifier[..])]) {
        let model = format!("{}/tests/golden/{family}", env!("CARGO_MANIFEST_DIR"));
        let arguments = ["--model", &model, "--batch-sizes", "8", "--tokens", "16"];
        assert_estimated(&[&arguments[..], more].concat());
    }
}

#[test]
fn the_estimate_of_packed_weights_is_what_the_allocator_has_in_use() {
    gpu();
    // The embedded model is stored in f16.
    let common = ["--batch-sizes", "4", "--target-modules", "all-linear"];
    assert_estimated(&[&common[..], &["--quantize", "q8", "--methods", "sparta,lora"]].concat());
    assert_estimated(&[&common[..], &["--weights-dtype", "f32"]].concat());
}

#[test]
fn the_estimate_of_real_models_is_what_the_allocator_has_in_use() {
    gpu();
    for model in ["models/stories260K", "models/babyllama105"] {
        let Some(model) = shared(model) else { return };
        let model = model.canonicalize().expect("a path");
        assert_estimated(&["--model", text(&model), "--batch-sizes", "1,8", "--tokens", "128"]);
    }
}

#[test]
fn the_estimate_of_a_table_in_blocks_is_what_the_allocator_has_in_use() {
    let limit = gpu().facts.max_binding_bytes.expect("a limit");
    let place = TestFolder::new();
    // A table of 144 MB: more than WebGPU's least limit, which lavapipe has.
    let config = json!({
        "model_type": "llama", "vocab_size": 140_001, "hidden_size": 256, "intermediate_size": 256,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64, "tie_word_embeddings": true,
    });
    for (dtype, vocabulary) in [(Dtype::F32, 140_001), (Dtype::BF16, 280_001)] {
        let mut config = config.clone();
        config["vocab_size"] = vocabulary.into();
        let start = place.write(&format!("start-{dtype:?}/config.json"), &config.to_string());
        let model =
            Pretrained::random(start.parent().expect("a folder"), 1, Purpose::LanguageModel, &ComputeDevice::cpu());
        let folder = place.path(&format!("{dtype:?}"));
        block_on(save::folder(&model.expect("a model"), dtype, &folder, save::MOST_FILE_BYTES)).expect("a folder");
        if limit == 128 << 20 {
            let loaded = Pretrained::load(&folder, gpu()).expect("a model");
            assert_eq!(loaded.transformer.parameters()[0].value().blocks().len(), 2, "{dtype:?}");
        }
        let arguments = ["--model", text(&folder), "--batch-sizes", "4", "--tokens", "16"];
        let trained = ["--methods", "sparta", "--target-modules", "all-linear,embed_tokens"];
        assert_estimated(&[&arguments[..], &trained].concat());
        std::fs::remove_dir_all(folder).expect("removed");
    }
}

#[test]
fn methods_plan_what_they_train() {
    let device = ComputeDevice::cpu();
    let configs = [
        RunConfig { method: "sparta".into(), ..RunConfig::default() },
        RunConfig { density: 0.3, target_modules: names(&["all-linear"]), ..RunConfig::default() },
        RunConfig { sparsity: 0.9, trainable_tokens: agoge::config::List(vec![3, 5]), ..RunConfig::default() },
        RunConfig { method: "lora".into(), lora_rank: 3, ..RunConfig::default() },
        RunConfig { method: "full".into(), frozen_modules: names(&["norm"]), ..RunConfig::default() },
        RunConfig { method: "head".into(), ..RunConfig::default() },
    ];
    for family in ["llama-tied", "llama-untied-rope3", "gpt2", "gemma3", "qwen2"] {
        let folder = Path::new(TINY).with_file_name(family);
        let mut base = Pretrained::load(&folder, &device).expect(family);
        let (_, architecture) = read_architecture(&folder).expect(family);
        let outline = Transformer::outline(architecture, HeadKind::LanguageModel);
        let shapes = |model: &Transformer| {
            model.parameters().iter().map(|p| (p.name.clone(), p.dims.clone(), p.role)).collect::<Vec<_>>()
        };
        assert_eq!(shapes(&outline), shapes(&base.transformer), "{family}");
        for config in &configs {
            let entry = method::find(&config.method).expect("a method");
            let config = config.method_config();
            let planned = method::trained(entry, &config, Vec::new(), &outline);
            let mut setup = Setup::new(&config, &device, 1);
            let started = block_on(method::start(entry, &mut setup, &mut base.transformer));
            match (planned, started) {
                (Ok(planned), Ok(started)) => {
                    assert_eq!(planned, started.trained(), "{family}, {}", entry.name);
                }
                (Err(planned), Err(started)) => assert_eq!(planned.to_string(), started.to_string()),
                (planned, started) => panic!("{family}, {}: {planned:?}, {:?}", entry.name, started.err()),
            }
        }
    }
}

/// The flags of a run, as the advice writes them.
#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: Overrides,
}

#[test]
fn advice_is_worth_following() {
    let architecture = read_architecture(Path::new(TINY)).expect("the tiny model").1;
    let rows = Rows { longest: 64, targets: vec![63; 32], evaluated: 40, evaluated_rows: 9 };
    let config = RunConfig { method: "full".into(), batch_size: 16, ..RunConfig::default() };
    let on = |memory_bytes| DeviceFacts { memory_bytes, ..ComputeDevice::cpu().facts };
    let judge = |config: &RunConfig, rows: &Rows, memory: u64| {
        estimate(config, &architecture, 0, rows, &on(Some(memory))).expect("an estimate")
    };
    let free = estimate(&config, &architecture, 0, &rows, &on(None)).expect("an estimate");
    assert!(free.advice.is_empty() && free.limit_bytes.is_none());
    assert_eq!(free.parts.iter().map(|(_, bytes)| bytes).sum::<u64>(), free.total_bytes);
    let never = RunConfig { grad_checkpointing: GradCheckpointing::Off, ..config.clone() };
    let mut heard = 0;
    for share in [0.9, 0.7, 0.5, 0.3, 0.2] {
        let memory = (share * free.total_bytes as f64) as u64;
        let told = judge(&never, &rows, memory);
        assert!(!told.advice.is_empty() && told.limit_bytes == Some(memory), "{share}");
        for sentence in told.advice.iter().filter(|sentence| sentence.starts_with("--")) {
            let (flags, _) = sentence.split_once(": ").expect("flags and what they lead to");
            let words = ["agoge"].into_iter().chain(flags.split(' '));
            let mut followed = never.clone();
            Flags::try_parse_from(words).expect(flags).settings.apply(&mut followed);
            let mut cut = rows.clone();
            if followed.max_seq_length > 0 {
                cut.longest = cut.longest.min(followed.max_seq_length);
                cut.evaluated = cut.evaluated.min(followed.max_seq_length);
                cut.targets.iter_mut().for_each(|count| *count = (*count).min(followed.max_seq_length));
            }
            let before = config.batch_size * config.grad_accumulation_steps;
            assert_eq!(followed.batch_size * followed.grad_accumulation_steps, before, "{flags}");
            let fits = judge(&followed, &cut, memory);
            assert!(fits.advice.is_empty() && fits.total_bytes <= memory, "{flags}: {fits:?} in {memory}");
            heard += 1;
        }
    }
    assert!(heard > 6, "{heard} sentences");
    let hopeless = judge(&never, &rows, 1000);
    assert!(hopeless.advice[0].starts_with("no batch size makes it fit"), "{:?}", hopeless.advice);
    // Left open, blocks are computed again exactly where that is needed.
    let roomy = judge(&config, &rows, free.total_bytes);
    assert_eq!((roomy.total_bytes, roomy.advice.len()), (free.total_bytes, 0));
    assert!(judge(&config, &rows, free.total_bytes - 1).total_bytes < free.total_bytes);
    // A tensor that the device cannot bind does not fit either.
    let narrow = DeviceFacts { max_binding_bytes: Some(10_000), ..on(None) };
    let told = estimate(&never, &architecture, 0, &rows, &narrow).expect("an estimate");
    assert!(told.advice[0].contains("can bind only"), "{:?}", told.advice);
    // What is trained as a whole is the cause: the frozen table of a sparse run is kept in blocks.
    let narrow = DeviceFacts { max_binding_bytes: Some(6144), ..on(None) };
    let short = Rows { longest: 8, targets: vec![7; 2], evaluated: 0, evaluated_rows: 0 };
    let sparse = RunConfig { method: "sparta".into(), batch_size: 2, ..config.clone() };
    let whole = RunConfig { batch_size: 2, ..never.clone() };
    let [sparse, whole] =
        [sparse, whole].map(|config| estimate(&config, &architecture, 0, &short, &narrow).expect("one"));
    assert!(sparse.advice.is_empty(), "{:?}", sparse.advice);
    assert!(whole.advice[0].contains("leave model.embed_tokens.weight out"), "{:?}", whole.advice);
}

#[test]
fn a_budget_is_kept() {
    let device = ComputeDevice::cpu();
    let place = TestFolder::new();
    let config = RunConfig { batch_size: 8, grad_accumulation_steps: 2, steps: 2, ..place.config("free") };
    let run = start(&config, &device, false);
    assert_eq!(run.config().grad_checkpointing, GradCheckpointing::Off, "settled, so that a resumed run is the same");
    let rows = Rows::of(&run.inputs().dataset);
    let architecture = &run.inputs().base.transformer.architecture;
    let total =
        |config: &RunConfig| estimate(config, architecture, 0, &rows, &device.facts).expect("an estimate").total_bytes;
    let whole = total(run.config());
    // What no other choice stays within.
    let least = RunConfig { batch_size: 1, grad_checkpointing: GradCheckpointing::On, ..run.config().clone() };
    let least = total(&least);
    for (share, checkpointing) in
        [(1.0, GradCheckpointing::Off), (0.6, GradCheckpointing::Off), (0.0, GradCheckpointing::On)]
    {
        let budget = ((share * whole as f64) as u64).max(least);
        let out = place.path(&format!("budget-{share}"));
        let asked = RunConfig { memory_budget: format!("{budget}B"), out, ..config.clone() };
        let mut run = start(&asked, &device, false);
        let chosen = run.config().clone();
        assert_eq!(chosen.batch_size * chosen.grad_accumulation_steps, 16);
        assert!(chosen.grad_checkpointing == checkpointing && total(&chosen) <= budget, "{budget}: {chosen:?}");
        assert!(
            checkpointing == GradCheckpointing::On || (chosen.batch_size == 8) == (budget == whole),
            "{budget}: {chosen:?}"
        );
        let events = drive(&mut run, None);
        let Some(Event::Started(started)) = events.first() else { panic!("{events:?}") };
        let choice = started.memory_choice.as_ref().expect("what was chosen");
        assert!(choice.contains(&format!("batches of {}", chosen.batch_size)), "{choice}");
        // Going on, it keeps what it has.
        let resumed = start(run.config(), &device, true);
        assert_eq!(resumed.config(), run.config());
    }
}

fn run(arguments: &[&str]) -> (Output, String) {
    let output = program(arguments).output().expect("the program");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, error)
}

#[test]
fn the_program_estimates_and_says_what_does_not_fit() {
    let place = TestFolder::labelled();
    let (model, data, classes) = (place.path("model"), place.path("data"), place.path("classes"));
    let common = ["estimate", "--device", "cpu", "--model", text(&model)];
    let (output, error) = run(&[&common[..], &["--data", text(&data)]].concat());
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && error.is_empty(), "{error}");
    for words in ["model weights", "activations", "total", "it fits"] {
        assert!(told.contains(words), "{told}");
    }
    let (output, error) = run(&[&common[..], &["--json", "--task", "classify", "--data", text(&classes)]].concat());
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(told["estimate"]["total_bytes"].as_u64() > Some(4 * 17_664), "{told} {error}");
    // Without data, rows are as long as they may be; nobody has the memory for so many of them.
    let (output, _) = run(&[&common[..], &["--batch-size", "1073741824"]].concat());
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && told.contains("--batch-size"), "{told}");
    for (budget, words) in [("12", "a number and a unit"), ("1KB", "takes at least"), ("9 MB", "")] {
        let (output, error) = run(&[&common[..], &["--data", text(&data), "--memory-budget", budget]].concat());
        assert_eq!(output.status.success(), words.is_empty(), "{budget}: {error}");
        assert!(error.contains(words), "{budget}: {error}");
    }
}

#[test]
fn settings_of_earlier_versions_are_read() {
    for (text, expected) in [("true", GradCheckpointing::On), ("false", GradCheckpointing::Off)] {
        let old = format!("{{\"steps\": 7, \"grad_checkpointing\": {text}}}");
        let config: RunConfig = serde_json::from_str(&old).expect("an old config.json");
        assert_eq!((config.steps, config.grad_checkpointing), (7, expected));
    }
    let typed = |words: &[&str]| {
        let flags = Flags::try_parse_from([&["agoge"], words].concat()).expect("flags");
        let mut config = RunConfig::default();
        flags.settings.apply(&mut config);
        config.grad_checkpointing
    };
    assert_eq!(typed(&[]), GradCheckpointing::Auto);
    assert_eq!(typed(&["--grad-checkpointing"]), GradCheckpointing::On);
    assert_eq!(typed(&["--grad-checkpointing", "off"]), GradCheckpointing::Off);
    assert_eq!(typed(&["--grad-checkpointing", "true"]), GradCheckpointing::On);
}
