//! What the end-to-end tests share: a tiny model folder with a tokenizer, small data, runs in this process, and the
//! real program. The models and data that are too large for the repository are looked for next to it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use agoge::{
    config::{List, RunConfig},
    device::{ComputeDevice, DeviceChoice},
    event::{self, Event, Metrics},
    model::{Pretrained, weights::Weights},
    session::load_inputs,
    source::silent,
    train::{Run, folder::prepare_out},
};
use pollster::block_on;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// The tiny Llama of the golden tests: 17,664 parameters, 67 tokens, 64 positions.
pub const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama-tied");

/// A part of the real models and data, or `None` with a notice (a failure on CI).
pub fn shared(part: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os("AGOGE_SHARED").map_or(default, PathBuf::from).join(part);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing; set AGOGE_SHARED", folder.display());
    crate::support::say(&format!("skipped: {} is missing; set AGOGE_SHARED", folder.display()));
    None
}

/// A temporary folder with `model/` (tiny, with a tokenizer) and `data/` (23 rows to train on, 6 to judge).
pub struct TestFolder {
    folder: TempDir,
}

impl TestFolder {
    pub fn new() -> Self {
        let place = Self { folder: TempDir::new().expect("a temporary folder") };
        let model = place.path("model");
        std::fs::create_dir_all(&model).expect("model/");
        for name in ["config.json", "model.safetensors"] {
            std::fs::copy(Path::new(TINY).join(name), model.join(name)).expect(name);
        }
        write_tokenizer(&model);
        place.write("data/train.jsonl", &rows(0, 23));
        place.write("data/valid.jsonl", &rows(40, 6));
        place
    }

    /// The same with labelled rows to train on, to judge and to test, and in `bert/` a tiny encoder.
    pub fn labelled() -> Self {
        let place = Self::new();
        let bert = place.path("bert");
        std::fs::create_dir_all(&bert).expect("bert/");
        for name in ["config.json", "model.safetensors"] {
            let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/bert-classify");
            std::fs::copy(Path::new(golden).join(name), bert.join(name)).expect(name);
        }
        write_tokenizer(&bert);
        place.write("classes/train.jsonl", &labelled(0, 48));
        place.write("classes/valid.jsonl", &labelled(50, 12));
        place.write("classes/test.jsonl", &labelled(70, 10));
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, text).expect(name);
        path
    }

    /// Settings of a short run that trains a tenth of every linear weight; it writes to the folder `out`.
    pub fn config(&self, out: &str) -> RunConfig {
        RunConfig {
            model: self.path("model"),
            data: self.path("data"),
            out: self.path(out),
            device: DeviceChoice::Cpu,
            target_modules: names(&["all-linear"]),
            density: 0.1,
            steps: 8,
            batch_size: 4,
            learning_rate: 5e-3,
            eval_steps: 3,
            save_steps: 0,
            logging_steps: 1,
            ..RunConfig::default()
        }
    }
}

pub fn names(items: &[&str]) -> List<String> {
    List(items.iter().map(|&item| item.to_owned()).collect())
}

/// A byte-level tokenizer of exactly the 67 tokens that the tiny model knows: three special ones and 64 bytes, among
/// them those of `é` and `😀`. Everything else is unknown.
fn write_tokenizer(model: &Path) {
    let letters = "abcdefghijklmnopqrstuvwxyz \n.,:!?'-;0123456789ABCDEFGHIJKLé😀";
    let printed = |byte: u8| {
        let own = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let shifted = (0..byte).filter(|byte| !own(byte)).count() as u32;
        char::from_u32(if own(&byte) { byte.into() } else { 256 + shifted }).expect("a character").to_string()
    };
    let special = ["<unk>", "<s>", "</s>"].map(String::from);
    let tokens: Vec<String> = special.into_iter().chain(letters.bytes().map(printed)).collect();
    let vocab: Map<String, Value> = tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    assert_eq!(vocab.len(), 67);
    let added = |id: usize| {
        json!({"id": id, "content": tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let begin = json!([{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]);
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": byte_level,
        "added_tokens": [added(0), added(1), added(2)],
        "post_processor": {"type": "TemplateProcessing", "single": begin,
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": []}
    });
    std::fs::write(model.join("tokenizer.json"), json.to_string()).expect("tokenizer.json");
    let config = json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"});
    std::fs::write(model.join("tokenizer_config.json"), config.to_string()).expect("tokenizer_config.json");
}

/// Rows of different lengths, with answers of different lengths.
pub fn rows(first: usize, count: usize) -> String {
    const WORDS: [&str; 7] = ["hoplon", "is", "a", "round", "shield", "of", "bronze"];
    let words =
        |from: usize, count: usize| (from..from + count).map(|at| WORDS[at * at % 7]).collect::<Vec<_>>().join(" ");
    let row = |at: usize| {
        let (prompt, completion) = (words(at, 1 + at % 4), words(at + 3, 1 + at * 5 % 6));
        format!("{}\n", json!({"prompt": format!("{prompt}:"), "completion": completion}))
    };
    (first..first + count).map(row).collect()
}

/// Rows of two classes, told apart by one word.
pub fn labelled(first: usize, count: usize) -> String {
    let row = |at: usize| {
        let (word, label) = if (at * 7).is_multiple_of(3) { ("gold", "rich") } else { ("iron", "plain") };
        let filler = ["a", "coin of", "he saw", "bring"][at % 4];
        format!("{}\n", json!({"text": format!("{filler} {word} {}", at % 5), "label": label}))
    };
    (first..first + count).map(row).collect()
}

/// Loads what `config` names onto a device that is open already, and starts or resumes the run.
pub fn start(config: &RunConfig, device: &ComputeDevice, resume: bool) -> Run {
    let inputs = load_inputs(config, device.clone(), false, &silent).expect("inputs");
    if !resume && !config.out.as_os_str().is_empty() {
        prepare_out(&config.out, false).expect("an empty folder");
    }
    block_on(Run::new(config.clone(), inputs, resume)).expect("a run")
}

/// Polls a run to its end and tells it to stop as soon as it reports step `stop_after`.
pub fn drive(run: &mut Run, stop_after: Option<u64>) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = block_on(run.next()).expect("no failure") {
        if matches!(&event, Event::Step(metrics) if Some(metrics.step) == stop_after) {
            run.tell(event::Command::Stop);
        }
        events.push(event);
    }
    events
}

/// A fresh run from start to end.
pub fn train(config: &RunConfig, device: &ComputeDevice) -> (Run, Vec<Event>) {
    let mut run = start(config, device, false);
    let events = drive(&mut run, None);
    (run, events)
}

/// Step, loss and gradient norm of every step, as bits.
pub fn steps(events: &[Event]) -> Vec<(u64, u64, u64)> {
    let bits = |number: Option<f64>| number.expect("a figure").to_bits();
    events
        .iter()
        .filter_map(|event| match event {
            Event::Step(metrics) => Some((metrics.step, bits(metrics.loss), bits(metrics.grad_norm))),
            _ => None,
        })
        .collect()
}

/// Mean losses of the steps.
pub fn losses(events: &[Event]) -> Vec<f32> {
    steps(events).into_iter().map(|(_, loss, _)| f64::from_bits(loss) as f32).collect()
}

/// Step and validation loss of every evaluation.
pub fn evaluations(events: &[Event]) -> Vec<(u64, f64)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Evaluated { metrics, .. } => Some((metrics.step, metrics.eval_loss.expect("a loss"))),
            _ => None,
        })
        .collect()
}

/// `metrics.jsonl` of a run, every line of it.
pub fn metrics(out: &Path) -> Vec<Metrics> {
    let text = read_text(&out.join("metrics.jsonl"));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// Asserts that `metrics.jsonl` has every step from 1 to `last` once and in order, and no evaluation twice.
pub fn assert_each_step_once(out: &Path, last: u64) {
    let lines = metrics(out);
    let steps: Vec<u64> = lines.iter().filter(|m| m.loss.is_some()).map(|m| m.step).collect();
    assert_eq!(steps, (1..=last).collect::<Vec<_>>(), "steps in {}", out.display());
    let judged: Vec<u64> = lines.iter().filter(|m| m.eval_loss.is_some()).map(|m| m.step).collect();
    assert!(judged.windows(2).all(|pair| pair[0] < pair[1]), "evaluations in {}: {judged:?}", out.display());
}

/// All weights of a run's model as bits, by name.
pub fn weights(model: &Pretrained) -> BTreeMap<String, Vec<u32>> {
    let bits = |value: burn::tensor::Tensor<2>| {
        let values: Vec<f32> = value.into_data().try_into_vec().expect("f32");
        values.into_iter().map(f32::to_bits).collect()
    };
    model.transformer.parameters().into_iter().map(|p| (p.name.clone(), bits(p.value().dense()))).collect()
}

pub fn adapter_tensors(out: &Path) -> Weights {
    Weights::from_bytes("adapter", read(&out.join("adapter.safetensors"))).expect("a whole adapter")
}

pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub fn read_text(path: &Path) -> String {
    String::from_utf8(read(path)).expect("UTF-8")
}

/// The real program, not yet started.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agoge"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the real program to its end, which must be a good one.
pub fn agoge(arguments: &[&str]) -> Output {
    let output = program(arguments).output().expect("the program");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The same JSON, keys in the same order; numbers may differ in the last digit that a reader is allowed to lose.
pub fn assert_same(said: &Value, read: &Value) {
    match (said, read) {
        (Value::Object(said), Value::Object(read)) => {
            assert!(said.keys().eq(read.keys()), "{said:?} {read:?}");
            said.values().zip(read.values()).for_each(|(said, read)| assert_same(said, read));
        }
        (Value::Array(said), Value::Array(read)) => {
            assert_eq!(said.len(), read.len());
            said.iter().zip(read).for_each(|(said, read)| assert_same(said, read));
        }
        (Value::Number(said), Value::Number(read)) if said.is_f64() => {
            let (said, read) = (said.as_f64().expect("a float"), read.as_f64().expect("a number"));
            assert!((said - read).abs() <= 4.0 * f64::EPSILON * read.abs(), "{said} {read}");
        }
        _ => assert_eq!(said, read),
    }
}
