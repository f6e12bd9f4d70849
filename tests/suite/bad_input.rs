//! Bad input: the real program refuses it with one clear message and leaves no half-written file behind.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use agoge::files;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// A model whose weights, vocabulary (67 tokens) and positions (64) are known.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama-tied");
const V_PROJ: &str = "model.layers.0.self_attn.v_proj.weight";
const O_PROJ: &str = "model.layers.0.self_attn.o_proj.weight";

/// A temporary folder in which the program runs: `model` is a whole model, `data.txt` good data.
struct Place {
    folder: TempDir,
}

/// What the program left: every file below a folder, with its bytes.
type Files = BTreeMap<PathBuf, Vec<u8>>;

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().expect("temporary folder") };
        let model = place.path("model");
        fs::create_dir(&model).expect("model folder");
        for name in ["config.json", "model.safetensors"] {
            fs::copy(Path::new(GOLDEN).join(name), model.join(name)).expect("golden model");
        }
        place.write("model/tokenizer.json", tokenizer(29));
        place.write("data.txt", "the quick brown fox\n\njumps over the lazy dog\n");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("write");
    }

    /// A fresh copy of the folder `from` under the name `to`.
    fn copy(&self, from: &str, to: &str) -> PathBuf {
        let (from, to) = (self.path(from), self.path(to));
        if to.exists() {
            fs::remove_dir_all(&to).expect("remove");
        }
        for (path, bytes) in files_below(&from) {
            let target = to.join(path.strip_prefix(&from).expect("below"));
            fs::create_dir_all(target.parent().expect("parent")).expect("create");
            fs::write(target, bytes).expect("write");
        }
        to
    }

    /// Runs the program on a command line; its exit status, standard output and standard error.
    fn run(&self, line: &str) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_agoge"))
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env_remove("AGOGE_PANIC")
            // Nothing may be told even where backtraces are asked for.
            .env("RUST_BACKTRACE", "1")
            // Graphics drivers complain on standard error where it is missing.
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .output()
            .expect("the program runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    fn succeed(&self, line: &str) {
        let (status, _, message) = self.run(line);
        assert_eq!(status, Some(0), "agoge {line}\n{message}");
    }

    /// Runs what must fail, with one message that holds all `words`.
    fn fail(&self, line: &str, words: &[&str]) {
        let (status, said, message) = self.run(line);
        println!("agoge {line}\n{message}");
        let told = format!("agoge {line}\nstatus {status:?}\n{message}");
        // 1: refused by the program, 2: by its command line. 70 would be a panic that was caught.
        assert!(matches!(status, Some(1 | 2)), "{told}");
        assert!(said.is_empty(), "{told}\nstandard output: {said}");
        let messages = message.lines().filter(|line| line.starts_with("error: ")).count();
        assert!(message.starts_with("error: ") && messages == 1, "{told}");
        for leak in ["panicked", "backtrace", "AGOGE_PANIC", ".rs:"] {
            assert!(!message.contains(leak), "'{leak}' in: {told}");
        }
        for word in words {
            assert!(message.contains(word), "'{word}' is not in: {told}");
        }
    }

    /// As [`Self::fail`], and every file is as it was before: none changed, none new, none gone.
    fn refuse(&self, line: &str, words: &[&str]) {
        let before = files_below(self.folder.path());
        self.fail(line, words);
        let after = files_below(self.folder.path());
        let differing = |a: &Files, b: &Files| -> Vec<PathBuf> {
            a.iter().filter(|(path, bytes)| b.get(*path) != Some(bytes)).map(|(path, _)| path.clone()).collect()
        };
        let (lost, new) = (differing(&before, &after), differing(&after, &before));
        assert!(lost.is_empty() && new.is_empty(), "agoge {line}\ngone or changed: {lost:?}\nnew: {new:?}");
    }
}

fn files_below(folder: &Path) -> Files {
    let mut files = Files::new();
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            let bytes = fs::read(&path).expect("file");
            files.insert(path, bytes);
        }
    }
    files
}

/// A training command on the CPU: the usual arguments but for those that `extra` gives itself.
fn train(extra: &str) -> String {
    let mut line = String::from("train --quiet");
    for (name, value) in [("device", "cpu"), ("model", "model"), ("data", "data.txt"), ("out", "out"), ("steps", "2")] {
        let given = extra.split_whitespace().any(|word| word.strip_prefix("--") == Some(name));
        let resumed = extra.contains("--resume") && name != "device";
        if !given && !resumed {
            line += &format!(" --{name} {value}");
        }
    }
    format!("{line} {extra}")
}

/// A tokenizer of single letters without start token; the last letter, `z`, has the id `last`.
fn tokenizer(last: u32) -> String {
    let tokens = ["<unk>", "<s>", "</s>", "▁"].map(String::from).into_iter().chain(('a'..='y').map(String::from));
    let mut vocabulary: Map<String, Value> = tokens.zip(0u32..).map(|(token, id)| (token, id.into())).collect();
    vocabulary.insert("z".into(), last.into());
    let special = |id: u32, text: &str| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": []}
    })
    .to_string()
}

/// One tensor of a safetensors file.
struct Stored {
    dtype: Dtype,
    dims: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    fn indices(values: &[u32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { dtype: Dtype::U32, dims: vec![values.len()], bytes }
    }

    fn to_indices(&self) -> Vec<u32> {
        self.bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }
}

/// Reads a safetensors file, lets `edit` change its tensors, writes it again.
fn edit_tensors(path: &Path, edit: impl FnOnce(&mut BTreeMap<String, Stored>)) {
    let bytes = fs::read(path).expect("read");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors").tensors();
    let stored = |(name, view): (String, safetensors::tensor::TensorView)| {
        (name, Stored { dtype: view.dtype(), dims: view.shape().to_vec(), bytes: view.data().to_vec() })
    };
    let mut tensors: BTreeMap<String, Stored> = tensors.into_iter().map(stored).collect();
    edit(&mut tensors);
    let views = tensors.iter().map(|(name, t)| (name.clone(), t.dtype, t.dims.clone(), &t.bytes[..]));
    fs::write(path, files::safetensors(views, &[]).expect("safetensors")).expect("write");
}

/// Lets `edit` change the indices of the mask of [`V_PROJ`] in an adapter folder.
fn edit_mask(adapter: &Path, edit: impl FnOnce(&mut Vec<u32>)) {
    edit_tensors(&adapter.join("adapter.safetensors"), |tensors| {
        let mask = tensors.get_mut(&format!("{V_PROJ}.indices")).expect("explicit indices");
        let mut indices = mask.to_indices();
        edit(&mut indices);
        *mask = Stored::indices(&indices);
    });
}

/// Replaces the only occurrence of `old` in a text file.
fn replace(path: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(path).expect("read");
    assert_eq!(text.matches(old).count(), 1, "'{old}' in {}", path.display());
    fs::write(path, text.replace(old, new)).expect("write");
}

fn truncate(path: &Path, len: u64) {
    fs::File::options().write(true).open(path).and_then(|file| file.set_len(len)).expect("truncate");
}

/// A change to a folder, and the words of the message about it.
type Damage<'a> = (fn(&Path), &'a [&'a str]);

#[test]
fn paths_and_devices() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).expect("folder");
    place.write("folder/notes.csv", "a,b");
    place.write("empty.txt", " \n");
    let generate = "generate --device cpu --model model --prompt ab";
    for (line, words) in [
        (train("--model nowhere"), &["nowhere", "no such folder", "--model"][..]),
        (train("--model folder"), &["folder", "no config.json", "Hugging Face"]),
        (train("--data nowhere"), &["nowhere", "no file or folder", "check the path"]),
        (train("--data empty.txt"), &["empty.txt is empty"]),
        (train("--data folder"), &["no train file in folder", "jsonl", "give the file itself"]),
        (train("--valid-data nowhere"), &["nowhere", "check the path"]),
        (train("--config nowhere.toml"), &["cannot read nowhere.toml"]),
        // A path below a regular file cannot be created by anybody.
        (train("--out data.txt/out"), &["--out data.txt/out", "data.txt is a file, not a folder"]),
        (train("--out data.txt"), &["--out data.txt", "data.txt is a file, not a folder"]),
        // A run would replace the model's config.json.
        (train("--out model"), &["--out model", "a model in this folder", "another folder"]),
        (train("--out model --overwrite"), &["--out model", "a model in this folder", "another folder"]),
        ("train --data data.txt --out out".into(), &["--model is missing", "--config"]),
        (train("--device no-such-device"), &["--device no-such-device", "there are", "CPU"]),
        (train("--device 99"), &["--device 99", "no such device", "CPU"]),
        (format!("{generate} --adapter nowhere"), &["nowhere", "no adapter.json", "training run"]),
        ("evaluate --device cpu --model model --data nowhere".into(), &["nowhere", "check the path"]),
        ("evaluate --device cpu --model model".into(), &["--data <PATH>", "not provided"]),
        ("inspect nowhere".into(), &["nowhere", "no such folder"]),
        ("inspect folder".into(), &["folder", "neither a run", "nor a model folder"]),
        ("frobnicate".into(), &["frobnicate", "--help"]),
    ] {
        place.refuse(&line, words);
    }
}

#[test]
fn data_rows() {
    let place = Place::new();
    for (rows, extra, words) in [
        (&b"{\"text\": \"ab\"}\n\n{\"text\": \"a\n"[..], "", &["rows.jsonl:3", "not valid JSON", "one whole JSON"][..]),
        (b"{\"text\": \"ab\"}\n[1]\n", "", &["rows.jsonl:2", "not a JSON object"]),
        (b"{\"text\": \"ab\"}\n{\"label\": 1}\n", "", &["rows.jsonl:2", "\"text\" is missing", "same keys"]),
        (b"{\"label\": 1}\n", "", &["rows.jsonl:1", "only label", "prompt and completion"]),
        (b"{\"text\": \"ab\"}\n{\"text\": 3}\n", "", &["rows.jsonl:2", "\"text\" is a number, not a string"]),
        (b"{\"text\": \"ab\"}\n{\"text\": \"\"}\n", "", &["rows.jsonl:2", "nothing in this row can be trained on"]),
        (
            b"{\"prompt\": \"ab\", \"completion\": \"c\"}\n{\"prompt\": \"abcdefghij\", \"completion\": \"c\"}\n",
            "--max-seq-length 8",
            &["rows.jsonl:2", "fills all 8 tokens", "12 tokens", "raise"],
        ),
        (b"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n", "", &["rows.jsonl:1", "\"assistant\""]),
        (b"{\"text\": \"ab\"}\n{\"text\": \"a\xff\"}\n", "", &["rows.jsonl:2", "0xFF is not UTF-8"]),
        // A name that promises JSON is never plain text.
        (b"Once upon a time\n\nthere was\n", "", &["rows.jsonl:1", "not valid JSON", "plain text", ".txt"]),
        (b"[1, 2]\n", "", &["rows.jsonl:1", "not a JSON object"]),
        (
            b"{bad\n{\"x\": 1}\n{\"text\": 3}\n\xff\n",
            "--skip-bad-rows",
            &["no row of rows.jsonl", "all 4 were skipped", "rows.jsonl:1: not valid JSON"],
        ),
        (b"[\n{\"text\": \"ab\"}", "", &["rows.jsonl:2", "not a valid JSON list", "closing bracket is missing"]),
        (b"PAR1....", "", &["rows.jsonl cannot be read as Parquet", "JSON Lines"]),
        (b"ARROW1..", "", &["an Arrow file", "JSON Lines"]),
    ] {
        place.write("rows.jsonl", rows);
        place.refuse(&train(&format!("--data rows.jsonl {extra}")), words);
        place.refuse(&train(&format!("--valid-data rows.jsonl {extra}")), words);
    }
    place.write("rows.txt", b"plain\n\ntext\nand \xfe\n");
    place.refuse(&train("--data rows.txt"), &["rows.txt:4", "0xFE is not UTF-8"]);
    for name in ["rows.json", "rows.ndjson", "rows.jsonl.gz"] {
        place.write(name, "the quick brown fox\n\njumps\n");
        place.refuse(&train(&format!("--data {name}")), &[&format!("{name}:1"), "not valid JSON"]);
    }
}

#[test]
fn a_tokenizer_that_panics_when_it_is_used() {
    let place = Place::new();
    place.copy("model", "broken");
    // The library reads these decoders without complaint, and panics on a token that is too short for them.
    for decoder in [
        r#"{"type":"Strip","content":"a","start":1,"stop":1}"#,
        r#"{"type":"Sequence","decoders":[{"type":"Strip","content":"z","start":0,"stop":9}]}"#,
    ] {
        place.write(
            "broken/tokenizer.json",
            tokenizer(29).replace("\"decoder\":null", &format!("\"decoder\":{decoder}")),
        );
        let words = ["broken/tokenizer.json", "damaged", "download"];
        place.refuse(&train("--model broken"), &words);
        place.refuse("generate --device cpu --model broken --prompt ab", &words);
    }
}

#[test]
fn model_files() {
    let place = Place::new();
    let weights = "model.safetensors";
    let damages: &[Damage] = &[
        (|m| fs::write(m.join("config.json"), "{").expect("write"), &["config.json", "not valid JSON", "line 1"]),
        (|m| fs::write(m.join("config.json"), "[]").expect("write"), &["config.json must hold one JSON object"]),
        (|m| replace(&m.join("config.json"), "\"llama\"", "\"mamba\""), &["\"mamba\"", "supported are: llama"]),
        (
            |m| replace(&m.join("config.json"), "\"intermediate_size\": 48,", ""),
            &["config.json", "\"intermediate_size\" is missing"],
        ),
        (
            |m| replace(&m.join("config.json"), "\"hidden_size\": 32", "\"hidden_size\": \"wide\""),
            &["config.json", "\"hidden_size\" is \"wide\"", "positive integer"],
        ),
        (
            |m| replace(&m.join("config.json"), "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3"),
            &["config.json", "4 attention heads", "3 key/value heads"],
        ),
        (
            |m| {
                replace(&m.join("config.json"), "\"num_attention_heads\": 4", "\"num_attention_heads\": 64");
                replace(&m.join("config.json"), "\"head_dim\": 8,", "");
            },
            &["config.json", "num_attention_heads 64", "hidden_size 32"],
        ),
        (
            |m| replace(&m.join("config.json"), "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 4000000000"),
            &["config.json", "num_hidden_layers 4000000000"],
        ),
        (|m| replace(&m.join("config.json"), "\"silu\"", "\"relu\""), &["hidden_act \"relu\"", "silu"]),
        (
            |m| replace(&m.join("config.json"), "\"silu\"", "\"silu\", \"logit_scale\": 0.5"),
            &["config.json", "\"logit_scale\" is 0.5", "may change what the model computes", "remove the field"],
        ),
        (
            |m| replace(&m.join("config.json"), "\"rope_type\"", "\"attention_factor\": 2.0, \"rope_type\""),
            &["config.json", "\"rope_parameters.attention_factor\" is 2.0"],
        ),
        (
            |m| replace(&m.join("config.json"), "\"rope_type\": \"default\"", "\"rope_type\": \"yarn\""),
            &["\"yarn\" is not supported", "linear and llama3"],
        ),
        (|m| fs::remove_file(m.join("tokenizer.json")).expect("remove"), &["no tokenizer.json in broken", "saving"]),
        (|m| fs::write(m.join("tokenizer.json"), "{\"model\": 3}").expect("write"), &["tokenizer.json is not a tok"]),
        (
            |m| fs::write(m.join("tokenizer.json"), tokenizer(67)).expect("write"),
            &["token id 67", "only ids below 67", "use the tokenizer that came with this model"],
        ),
        (
            |m| fs::write(m.join("chat_template.jinja"), "{% for %}").expect("write"),
            &["chat template", "chat_template.jinja", "broken"],
        ),
        (
            |m| fs::remove_file(m.join("model.safetensors")).expect("remove"),
            &["broken", "neither model.safetensors nor model.safetensors.index.json"],
        ),
        (|m| truncate(&m.join("model.safetensors"), 20_000), &[weights, "not a whole safetensors file", "again"]),
        (|m| truncate(&m.join("model.safetensors"), 0), &[weights, "not a whole safetensors file", "again"]),
        (
            // The first eight bytes are the length of the header.
            |m| {
                let mut bytes = fs::read(m.join("model.safetensors")).expect("read");
                bytes[..8].copy_from_slice(&90_000_000u64.to_le_bytes());
                fs::write(m.join("model.safetensors"), bytes).expect("write");
            },
            &[weights, "not a whole safetensors file", "again"],
        ),
        (
            |m| {
                fs::remove_file(m.join("model.safetensors")).expect("remove");
                let index = json!({"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}});
                fs::write(m.join("model.safetensors.index.json"), index.to_string()).expect("write");
            },
            &["cannot open", "model-00001-of-00002.safetensors"],
        ),
        (
            |m| {
                edit_tensors(&m.join("model.safetensors"), |tensors| {
                    tensors.get_mut(V_PROJ).expect("there").dims = vec![32, 16];
                    tensors.remove(O_PROJ).expect("there");
                    tensors.insert("extra".into(), Stored::indices(&[1]));
                });
            },
            &[
                "broken: the weights do not fit config.json (3 tensors)",
                "layers.0.self_attn.v_proj.weight: has shape [32, 16], config.json asks for [16, 32]",
                "layers.0.self_attn.o_proj.weight: missing, expected shape [32, 32]",
                "extra: config.json has no place for it",
            ],
        ),
        (
            |m| {
                edit_tensors(&m.join("model.safetensors"), |tensors| {
                    tensors.get_mut(V_PROJ).expect("there").dtype = Dtype::I32;
                });
            },
            &[V_PROJ, "stored as I32", "supported are F32, F16 and BF16"],
        ),
        (
            |m| {
                edit_tensors(&m.join("model.safetensors"), |tensors| {
                    let table = &tensors["model.embed_tokens.weight"];
                    let mut head = Stored { dtype: table.dtype, dims: table.dims.clone(), bytes: table.bytes.clone() };
                    head.bytes[2] ^= 1;
                    tensors.insert("lm_head.weight".into(), head);
                });
            },
            &["lm_head.weight: differs from the embedding table", "set tie_word_embeddings to false"],
        ),
    ];
    for (damage, words) in damages {
        damage(&place.copy("model", "broken"));
        // The letter with the last id, so that generation meets it as training does.
        place.write("data.txt", "jazz\n");
        place.refuse(&train("--model broken"), words);
    }
}

#[test]
fn adapters() {
    let place = Place::new();
    place.succeed(&train("--out run --explicit-indices"));
    let damages: &[Damage] = &[
        (|a| fs::remove_file(a.join("adapter.json")).expect("remove"), &["bad", "no adapter.json", "training run"]),
        (|a| truncate(&a.join("adapter.json"), 100), &["adapter.json", "not a valid adapter description", "line"]),
        (|a| replace(&a.join("adapter.json"), "\"version\": 1", "\"version\": 2"), &["version 2", "up to 1"]),
        (|a| replace(&a.join("adapter.json"), "\"sparta\"", "\"loro\""), &["bad", "no method \"loro\"", "sparta"]),
        (|a| replace(&a.join("adapter.json"), "\"seed\": 0", "\"seed\": \"x\""), &["adapter.json", "sparta", "u64"]),
        (
            |a| replace(&a.join("adapter.json"), "layers.0.self_attn.v_proj", "layers.7.self_attn.v_proj"),
            &["bad", "no parameter model.layers.7.self_attn.v_proj.weight"],
        ),
        (
            |a| replace(&a.join("adapter.json"), "layers.0.self_attn.v_proj", "layers.1.self_attn.v_proj"),
            &["bad", "model.layers.1.self_attn.v_proj.weight is listed twice"],
        ),
        (
            // A vector has no rows to be trained as a whole.
            |a| {
                let mut info: Value =
                    serde_json::from_slice(&fs::read(a.join("adapter.json")).expect("read")).expect("JSON");
                info["settings"]["tensors"][0] =
                    json!({"name": "model.norm.weight", "shape": [32], "drawn": 0, "rows": [0, 1]});
                fs::write(a.join("adapter.json"), info.to_string()).expect("write");
            },
            &["bad", "the mask of model.norm.weight does not fit its shape"],
        ),
        (|a| fs::remove_file(a.join("adapter.safetensors")).expect("remove"), &["cannot read", "adapter.safetensors"]),
        (|a| truncate(&a.join("adapter.safetensors"), 900), &["adapter.safetensors", "not a whole", "again"]),
        (
            |a| edit_mask(a, |indices| *indices.last_mut().expect("some") = 512),
            &["bad", V_PROJ, "index 512 is out of range", "512 entries"],
        ),
        (|a| edit_mask(a, |indices| indices[1] = indices[0]), &["bad", V_PROJ, "appears twice"]),
        (|a| edit_mask(a, |indices| indices.swap(0, 1)), &["bad", V_PROJ, "not in ascending order"]),
        (
            |a| {
                edit_mask(a, |indices| {
                    indices.pop();
                });
            },
            &["bad", V_PROJ, "30 deltas for 29 indices"],
        ),
        (
            |a| {
                edit_tensors(&a.join("adapter.safetensors"), |tensors| {
                    tensors.remove(&format!("{O_PROJ}.delta")).expect("there");
                });
            },
            &["bad", O_PROJ, "delta is missing"],
        ),
        (
            |a| {
                edit_tensors(&a.join("adapter.safetensors"), |tensors| {
                    tensors.get_mut(&format!("{V_PROJ}.indices")).expect("there").dtype = Dtype::F32;
                });
            },
            &["adapter.safetensors", V_PROJ, "stored as F32, not U32"],
        ),
    ];
    for (damage, words) in damages {
        damage(&place.copy("run", "bad"));
        place.refuse("generate --device cpu --quiet --model model --adapter bad --prompt ab", words);
        place.refuse("merge --device cpu --model model --adapter bad --out merged", words);
    }
    let other = place.copy("model", "other");
    edit_tensors(&other.join("model.safetensors"), |tensors| {
        tensors.get_mut("model.norm.weight").expect("there").bytes[0] ^= 1;
    });
    let words = ["run", "belongs to another model", "trained on model (17664 parameters)", "other"];
    place.refuse("evaluate --device cpu --model other --adapter run --data data.txt", &words);

    for (rest, words) in [
        ("--out merged", &["--adapter is missing", "folder of the run"][..]),
        ("--adapter run --out other", &["--out other", "a model in this folder already", "--overwrite"]),
        ("--adapter run --out model", &["--out model", "base model itself", "another folder"]),
        ("--adapter run --out model --overwrite", &["--out model", "base model itself", "another folder"]),
        ("--adapter run --out run", &["--out run", "a run in this folder", "another folder"]),
        ("--adapter run --out run --overwrite", &["--out run", "a run in this folder", "another folder"]),
        ("--adapter run --out data.txt/merged", &["cannot create", "data.txt"]),
        ("--adapter run --out merged --dtype int8", &["'int8'", "f32, f16, bf16"]),
    ] {
        place.refuse(&format!("merge --device cpu --model model {rest}"), words);
    }
}

#[test]
fn settings() {
    let place = Place::new();
    for (extra, words) in [
        ("--sparsity 0", &["--sparsity 0", "between 0 and 1"][..]),
        ("--sparsity 1", &["--sparsity 1", "between 0 and 1"]),
        ("--sparsity -0.5", &["--sparsity -0.5", "between 0 and 1"]),
        ("--sparsity 0.5", &["8832 trainable parameters", "only 3072", "at least 0.826087", "--target-modules"]),
        ("--sparsity 0.99999", &["--sparsity 0.99999", "nothing to train", "below 0.9999"]),
        ("--density 1.5", &["--density 1.5", "between 0 and 1"]),
        ("--density 0.0001", &["--density 0.0001", "nothing to train", "above 0.000488"]),
        ("--method loro", &["no method \"loro\"", "sparta", "lora"]),
        ("--target-modules c_attn", &["--target-modules c_attn", "there are", "q_proj", "all-linear"]),
        ("--frozen-modules c_attn", &["--frozen-modules c_attn", "there are", "q_proj"]),
        ("--target-modules v_proj --frozen-modules proj", &["--frozen-modules", "nothing to train"]),
        ("--trainable-tokens 3,67", &["--trainable-tokens 67", "only 67 tokens"]),
        ("--trainable-tokens 3,x", &["--trainable-tokens", "x: invalid digit"]),
        ("--trainable-tokens 1,2,3,4,5,6", &["192 parameters", "177", "--sparsity", "at most 0.98"]),
        ("--chat-date yesterday", &["--chat-date yesterday", "not a date", "2024-07-26"]),
        ("--chat-date 2024-07-26", &["--chat-date 2024-07-26", "no chat template that asks for a date"]),
        ("--batch-size 0", &["--batch-size 0", "at least 1"]),
        ("--batch-size -1", &["'-1'", "--batch-size"]),
        ("--grad-accumulation-steps 0", &["--grad-accumulation-steps 0", "at least 1"]),
        ("--steps 0 --epochs 0", &["--epochs 0", "at least 1"]),
        ("--learning-rate -0.1", &["--learning-rate -0.1", "not negative"]),
        ("--learning-rate NaN", &["--learning-rate NaN", "finite"]),
        ("--learning-rate inf", &["--learning-rate inf", "finite"]),
        ("--learning-rate 0.1 --min-learning-rate 0.2", &["--min-learning-rate 0.2", "at most the learning rate"]),
        ("--beta1 1", &["--beta1 1", "below 1"]),
        ("--epsilon 0", &["--epsilon 0", "positive"]),
        ("--schedule step", &["'step'", "--schedule", "cosine"]),
        ("--max-seq-length 1", &["--max-seq-length 1", "at least 2"]),
        ("--max-seq-length 65", &["--max-seq-length 65", "only 64 positions"]),
        ("--sample-prompts=|", &["--sample-prompts", "no tokens", "at least one word"]),
        ("--batchsize 3", &["--batchsize", "--batch-size"]),
    ] {
        place.refuse(&train(extra), words);
    }
    for (toml, words) in [
        ("batch_size = 2\nbatch_sise = 3\n", &["bad.toml", "line 2", "batch_sise", "batch_size"][..]),
        ("batch_size = = 2\n", &["bad.toml", "line 1, column 14"]),
        ("batch_size = \"many\"\n", &["bad.toml", "line 1", "batch_size", "\"many\"", "expected usize"]),
        ("batch_size = 0\n", &["--batch-size 0", "at least 1"]),
        ("schedule = \"step\"\n", &["bad.toml", "`step`", "`cosine`"]),
    ] {
        place.write("bad.toml", toml);
        place.refuse(&train("--config bad.toml"), words);
    }
    // What messages advise is accepted.
    place.succeed(&train("--out advised --sparsity 0.826087"));
    place.succeed(&train("--out advised --overwrite --sparsity 0.98913 --trainable-tokens 1,2,3,4,5,6"));
    // Counts that would overflow are only large.
    place.succeed(&train("--out large --batch-size 18446744073709551615"));
}

#[test]
fn generation() {
    let place = Place::new();
    let long = format!("--prompt {}", "a".repeat(64));
    for (rest, words) in [
        ("--prompt=", &["--prompt is empty", "no start token", "at least one word"][..]),
        (&long, &["64 tokens", "only 64 positions", "shorten"]),
        ("--prompt ab --top-p 0", &["--top-p 0", "above 0"]),
        ("--prompt ab --top-p -1", &["--top-p -1", "above 0"]),
        ("--prompt ab --temperature -1", &["--temperature -1", "negative"]),
        ("--prompt ab --repetition-penalty 0", &["--repetition-penalty 0", "positive"]),
        ("--prompt ab --system ab", &["--chat"]),
        ("", &["--prompt"]),
    ] {
        place.refuse(&format!("generate --quiet --device cpu --model model {rest}"), words);
    }
    place.write("model/tokenizer.json", tokenizer(67));
    let words = ["token 67", "only 67", "do not belong together"];
    place.refuse("generate --quiet --device cpu --model model --prompt az", &words);
    let evaluate = "evaluate --device cpu --model model --data data.txt";
    place.refuse(evaluate, &["token id 67", "only ids below 67"]);
    place.refuse(&format!("{evaluate} --batch-size 0"), &["--batch-size 0", "at least 1"]);
    place.refuse(&format!("{evaluate} --max-seq-length 65"), &["--max-seq-length 65", "only 64 positions"]);
}

#[test]
fn runs_that_exist() {
    let place = Place::new();
    place.succeed(&train("--out run"));
    fs::create_dir(place.path("empty")).expect("folder");
    for (extra, words) in [
        ("--out run", &["--out run", "a run in this folder already", "--resume run", "--overwrite"][..]),
        // A new run takes the place of the old one only when it can start.
        ("--out run --overwrite --sparsity 0.5", &["--sparsity 0.5", "at least 0.826087"]),
        ("--out run --overwrite --target-modules c_attn", &["--target-modules c_attn"]),
        ("--out run --overwrite --sample-prompts=|", &["--sample-prompts"]),
        ("--resume nowhere", &["--resume nowhere", "no run in this folder"]),
        ("--resume empty", &["--resume empty", "no run in this folder"]),
        ("--resume run --batch-size 4", &["--batch-size cannot be changed", "resumed", "new run"]),
        ("--resume run --model model", &["--model cannot be changed"]),
        ("--resume run --out elsewhere", &["--out cannot be changed"]),
        ("--resume run --overwrite", &["--resume", "--overwrite"]),
    ] {
        place.refuse(&train(extra), words);
    }
    let damages: &[Damage] = &[
        (
            |r| fs::remove_dir_all(r.join("checkpoints")).expect("remove"),
            &["--resume bad", "no checkpoint", "--overwrite"],
        ),
        (
            |r| truncate(&r.join("checkpoints/step-00000002/state.safetensors"), 700),
            &["state.safetensors", "not a whole safetensors file", "remove", "checkpoint before it"],
        ),
        (
            |r| truncate(&r.join("checkpoints/step-00000002/state.json"), 7),
            &["state.json", "not a checkpoint", "checkpoint before it"],
        ),
        (|r| truncate(&r.join("config.json"), 30), &["config.json", "not the settings of a run", "line"]),
        (
            |r| replace(&r.join("config.json"), "\"sparsity\": 0.99", "\"sparsity\": 0.98"),
            &["v_proj.weight.delta has 30 values", "needs 59", "another run"],
        ),
        (
            |r| replace(&r.join("config.json"), "\"model\": \"model\"", "\"model\": \"gone\""),
            &["gone", "no such folder"],
        ),
    ];
    for (damage, words) in damages {
        damage(&place.copy("run", "bad"));
        place.refuse(&train("--resume bad --steps 4"), words);
    }
}

#[test]
fn numbers_that_are_not_finite() {
    let place = Place::new();
    let adapter = |run: &str| ["adapter.json", "adapter.safetensors"].map(|name| place.path(run).join(name));

    // The first step throws the weights away; the loss of the second says so.
    let wild = "--learning-rate 1e30 --max-grad-norm 0";
    let words = ["step 2: the loss is", "no checkpoint yet", "--learning-rate (now 1e30)", "--max-grad-norm 1"];
    place.fail(&train(&format!("{wild} --steps 3")), &words);
    assert!(adapter("out").iter().all(|path| !path.exists()) && !place.path("out/checkpoints").exists());

    // With validation data already its loss says so, and the weights do not become the best adapter.
    let words = ["step 1: the validation loss is", "the run has stopped"];
    place.fail(&train(&format!("{wild} --steps 1 --out short --valid-data data.txt")), &words);
    assert!(adapter("short").iter().all(|path| !path.exists()));

    // A run that was good before keeps its checkpoint and its adapter.
    place.succeed(&train("--out run"));
    replace(&place.path("run/config.json"), "\"learning_rate\": 0.005", "\"learning_rate\": 1e30");
    replace(&place.path("run/config.json"), "\"max_grad_norm\": 1.0", "\"max_grad_norm\": 0.0");
    let kept = |place: &Place| {
        let mut files = files_below(&place.path("run"));
        let written = ["metrics.jsonl", "events.jsonl", "config.json", "run.lock"];
        files.retain(|path, _| !written.iter().any(|name| path.ends_with(name)));
        files
    };
    let before = kept(&place);
    assert_eq!(before.len(), 4, "adapter and checkpoint");
    let words = ["step 4: the loss is", "last good checkpoint is step 2", "checkpoints", "--learning-rate"];
    place.fail(&train("--resume run --steps 9"), &words);
    assert!(kept(&place) == before, "the checkpoint or the adapter was touched");

    // Weights that are not finite are seen before anything is trained.
    edit_tensors(&place.path("model/model.safetensors"), |tensors| {
        tensors.get_mut(V_PROJ).expect("there").bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let words = ["the validation loss is NaN before the first step", "weights are damaged"];
    place.fail(&train("--out damaged --valid-data data.txt"), &words);
    assert!(adapter("damaged").iter().all(|path| !path.exists()));
}
