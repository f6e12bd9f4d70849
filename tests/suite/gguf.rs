//! GGUF files, read back by a reader of the test's own: metadata, names, and every number against the checkpoint.
//!
//! That llama.cpp makes the same tokens from them is checked by hand (`tests/golden/check_exports.py`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use agoge::{
    device::ComputeDevice,
    method::adapter::Adapter,
    model::{
        Pretrained,
        gguf::{self, Source, encode::Encoding},
        weights::Weights,
    },
};
use half::{bf16, f16};
use pollster::block_on;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    fixture::{TestFolder, agoge, program, read, read_text, shared, text, train},
    support::assert_close,
};

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
enum Meta {
    Number(f64),
    Flag(bool),
    Text(String),
    List(Vec<Meta>),
}

/// A tensor: dimensions from the fastest, ggml's type, its bytes.
struct Tensor {
    dims: Vec<usize>,
    kind: u32,
    bytes: Vec<u8>,
}

impl Tensor {
    fn floats(&self) -> Vec<f32> {
        let halves = || self.bytes.as_chunks::<2>().0.iter().map(|half| u16::from_le_bytes(*half));
        match self.kind {
            0 => self.bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
            1 => halves().map(|bits| f16::from_bits(bits).to_f32()).collect(),
            30 => halves().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
            8 => {
                let block = |block: &[u8]| {
                    let factor = f16::from_le_bytes([block[0], block[1]]).to_f32();
                    block[2..].iter().map(|byte| factor * f32::from(*byte as i8)).collect::<Vec<_>>()
                };
                self.bytes.chunks(34).flat_map(block).collect()
            }
            other => panic!("type {other}"),
        }
    }
}

struct File {
    metadata: BTreeMap<String, Meta>,
    tensors: BTreeMap<String, Tensor>,
}

impl File {
    fn number(&self, key: &str) -> f64 {
        match self.metadata.get(key) {
            Some(Meta::Number(number)) => *number,
            other => panic!("{key}: {other:?}"),
        }
    }

    fn text(&self, key: &str) -> &str {
        match self.metadata.get(key) {
            Some(Meta::Text(text)) => text,
            other => panic!("{key}: {other:?}"),
        }
    }

    fn texts(&self, key: &str) -> Vec<&str> {
        let Some(Meta::List(items)) = self.metadata.get(key) else { panic!("{key}") };
        items.iter().map(|item| if let Meta::Text(text) = item { &text[..] } else { panic!("{item:?}") }).collect()
    }

    fn numbers(&self, key: &str) -> Vec<f64> {
        let Some(Meta::List(items)) = self.metadata.get(key) else { panic!("{key}") };
        items.iter().map(|item| if let Meta::Number(number) = item { *number } else { panic!("{item:?}") }).collect()
    }

    fn read(path: &Path) -> Self {
        let bytes = read(path);
        let mut rest = Reader(&bytes, 0);
        assert_eq!(rest.take(4), b"GGUF");
        assert_eq!(rest.u32(), 3);
        let (tensors, pairs) = (rest.u64(), rest.u64());
        let mut metadata = BTreeMap::new();
        for _ in 0..pairs {
            let key = rest.text();
            let kind = rest.u32();
            assert!(metadata.insert(key.clone(), rest.value(kind)).is_none(), "{key} twice");
        }
        let mut list = Vec::new();
        for _ in 0..tensors {
            let name = rest.text();
            let dims: Vec<usize> = (0..rest.u32()).map(|_| rest.u64()).collect();
            let (kind, offset) = (rest.u32(), rest.u64());
            list.push((name, dims, kind, offset));
        }
        let start = rest.1.next_multiple_of(32);
        let mut end = start;
        let tensors = list.into_iter().map(|(name, dims, kind, offset)| {
            let count: usize = dims.iter().product();
            let len = match kind {
                0 => 4 * count,
                8 => count / 32 * 34,
                _ => 2 * count,
            };
            assert!(offset.is_multiple_of(32) && start + offset == end, "{name} at {offset}");
            end = (start + offset + len).next_multiple_of(32);
            (name, Tensor { dims, kind, bytes: bytes[start + offset..][..len].to_vec() })
        });
        let tensors = tensors.collect();
        assert_eq!(end, bytes.len(), "nothing is left over");
        Self { metadata, tensors }
    }
}

struct Reader<'a>(&'a [u8], usize);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        self.1 += count;
        &self.0[self.1 - count..self.1]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("four"))
    }

    fn u64(&mut self) -> usize {
        u64::from_le_bytes(self.take(8).try_into().expect("eight")) as usize
    }

    fn text(&mut self) -> String {
        let len = self.u64();
        String::from_utf8(self.take(len).to_vec()).expect("UTF-8")
    }

    fn value(&mut self, kind: u32) -> Meta {
        match kind {
            4 => Meta::Number(self.u32().into()),
            5 => Meta::Number((self.u32() as i32).into()),
            6 => Meta::Number(f32::from_bits(self.u32()).into()),
            7 => Meta::Flag(self.take(1)[0] != 0),
            8 => Meta::Text(self.text()),
            9 => {
                let (kind, count) = (self.u32(), self.u64());
                Meta::List((0..count).map(|_| self.value(kind)).collect())
            }
            other => panic!("metadata of type {other}"),
        }
    }
}

/// Cases of families, or with tensors, that the format has no place for.
const UNWRITABLE: &[&str] = &["exaone4", "stablelm-parallel"];

/// The reference cases that are language models of a family that can be written, each in a copy with a tokenizer.
fn cases(place: &TestFolder) -> Vec<(String, PathBuf, Value)> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let root = std::env::var_os("AGOGE_GOLDEN").map_or(default, PathBuf::from);
    let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden-families");
    let mut found = Vec::new();
    for entry in [root, families].iter().flat_map(|root| std::fs::read_dir(root).expect("the cases").flatten()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(info) = std::fs::read_to_string(entry.path().join("case.json")) else { continue };
        let info: Value = serde_json::from_str(&info).expect("JSON");
        if info["task"] != "causal-lm" || UNWRITABLE.contains(&&name[..]) {
            continue;
        }
        let folder = place.path(&name);
        std::fs::create_dir_all(&folder).expect("a folder");
        for file in ["config.json", "model.safetensors"] {
            std::fs::write(folder.join(file), read(&entry.path().join(file))).expect(file);
        }
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(place.path("model").join(file), folder.join(file)).expect(file);
        }
        let config = serde_json::from_str(&read_text(&folder.join("config.json"))).expect("JSON");
        found.push((name, folder, config));
    }
    assert!(found.len() >= 5, "{found:?}");
    found
}

fn write(folder: &Path, config: &Value, encoding: Encoding) -> (File, gguf::Report) {
    let weights = Weights::open(folder).expect("weights");
    let path = folder.join("model.gguf");
    let report = block_on(gguf::write(Source::File(&weights), config, folder, "tiny", encoding, &path));
    let report = report.unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    assert_eq!(report.bytes, read(&path).len() as u64);
    (File::read(&path), report)
}

/// The numbers of a checkpoint's tensor as the file should have them, from the rules of each family.
fn expected(config: &Value, name: &str, dims: &[usize], values: Vec<f32>) -> Vec<f32> {
    let family = config["model_type"].as_str().expect("a family");
    let number = |key: &str| config[key].as_u64().expect(key) as usize;
    let norm = name.contains("norm");
    if family.starts_with("gemma") {
        let factor = (12.0f64 / config["query_pre_attn_scalar"].as_f64().unwrap_or(12.0)).sqrt() as f32;
        let scaled = match family {
            "gemma2" => name.contains("q_proj"),
            "gemma3_text" => name.contains("q_norm"),
            _ => false,
        };
        let change = |value: f32| (value + if norm { 1.0 } else { 0.0 }) * if scaled { factor } else { 1.0 };
        return values.into_iter().map(change).collect();
    }
    if family == "gpt2" && dims.len() == 2 && !name.contains("wte") && !name.contains("wpe") {
        let at = |index: usize| values[index % dims[0] * dims[1] + index / dims[0]];
        return (0..values.len()).map(at).collect();
    }
    if name.contains("query_key_value") {
        // Query, key and value of each head become all queries, all keys, all values.
        let (columns, part) = (values.len() / dims[0], dims[0] / number("num_attention_heads") / 3);
        let from = |row: usize| {
            let (which, row) = (row / (dims[0] / 3), row % (dims[0] / 3));
            (row / part * 3 + which) * part + row % part
        };
        return (0..values.len()).map(|at| values[from(at / columns) * columns + at % columns]).collect();
    }
    let heads = match name {
        _ if !["llama", "mistral"].contains(&family) => return values,
        _ if name.contains("q_proj") => number("num_attention_heads"),
        _ if name.contains("k_proj") => number("num_key_value_heads"),
        _ => return values,
    };
    // Row 2 i of a head is row i of its first half, row 2 i + 1 that of its second.
    let (columns, width) = (dims[1], dims[0] / heads);
    let row = |row: usize| row / width * width + row % width % 2 * (width / 2) + row % width / 2;
    (0..values.len()).map(|at| values[row(at / columns) * columns + at % columns]).collect()
}

/// Name in the file of each tensor of a block and around them, spelled out.
const NAMES: &[(&str, &str)] = &[
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("transformer.wte.weight", "token_embd.weight"),
    ("transformer.wpe.weight", "position_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("transformer.ln_f.bias", "output_norm.bias"),
    ("lm_head.weight", "output.weight"),
    ("model.layers.1.input_layernorm.weight", "blk.1.attn_norm.weight"),
    ("model.layers.0.self_attn.q_proj.weight", "blk.0.attn_q.weight"),
    ("model.layers.0.self_attn.k_proj.weight", "blk.0.attn_k.weight"),
    ("model.layers.0.self_attn.v_proj.bias", "blk.0.attn_v.bias"),
    ("model.layers.1.self_attn.o_proj.weight", "blk.1.attn_output.weight"),
    ("model.layers.1.self_attn.q_norm.weight", "blk.1.attn_q_norm.weight"),
    ("model.layers.1.mlp.gate_proj.weight", "blk.1.ffn_gate.weight"),
    ("model.layers.1.mlp.down_proj.weight", "blk.1.ffn_down.weight"),
    ("model.layers.1.pre_feedforward_layernorm.weight", "blk.1.ffn_norm.weight"),
    ("model.layers.1.post_feedforward_layernorm.weight", "blk.1.post_ffw_norm.weight"),
    ("transformer.h.1.attn.c_attn.weight", "blk.1.attn_qkv.weight"),
    ("transformer.h.1.attn.c_attn.bias", "blk.1.attn_qkv.bias"),
    ("transformer.h.0.mlp.c_proj.weight", "blk.0.ffn_down.weight"),
    ("transformer.h.0.attn.c_proj.weight", "blk.0.attn_output.weight"),
    ("transformer.h.0.ln_1.weight", "blk.0.attn_norm.weight"),
    ("transformer.h.1.ln_2.bias", "blk.1.ffn_norm.bias"),
    ("gpt_neox.embed_in.weight", "token_embd.weight"),
    ("gpt_neox.final_layer_norm.bias", "output_norm.bias"),
    ("embed_out.weight", "output.weight"),
    ("gpt_neox.layers.1.input_layernorm.weight", "blk.1.attn_norm.weight"),
    ("gpt_neox.layers.1.post_attention_layernorm.bias", "blk.1.ffn_norm.bias"),
    ("gpt_neox.layers.0.attention.query_key_value.weight", "blk.0.attn_qkv.weight"),
    ("gpt_neox.layers.1.attention.query_key_value.bias", "blk.1.attn_qkv.bias"),
    ("gpt_neox.layers.0.attention.dense.weight", "blk.0.attn_output.weight"),
    ("gpt_neox.layers.1.mlp.dense_h_to_4h.weight", "blk.1.ffn_up.weight"),
    ("gpt_neox.layers.0.mlp.dense_4h_to_h.bias", "blk.0.ffn_down.bias"),
];

#[test]
fn every_number_is_in_the_file() {
    let place = TestFolder::new();
    for (case, folder, config) in cases(&place) {
        let weights = Weights::open(&folder).expect("weights");
        let (file, report) = write(&folder, &config, Encoding::F32);
        let extra = usize::from(file.tensors.contains_key("rope_freqs.weight"));
        assert_eq!(extra == 1, case.contains("rope3"), "{case}");
        assert_eq!(
            (file.tensors.len(), report.tensors),
            (weights.names().count() + extra, file.tensors.len()),
            "{case}"
        );
        let mut compared = 0;
        for (name, placed) in NAMES {
            let Some(dims) = weights.dims(name) else { continue };
            compared += 1;
            let tensor = file.tensors.get(*placed).unwrap_or_else(|| panic!("{case}: {placed}"));
            let values = expected(&config, name, dims, weights.floats(name).expect(name));
            assert_close(&format!("{case} {placed}"), &tensor.floats(), &values, 1e-6, 0.0);
            let transposed = config["model_type"] == "gpt2" && name.contains(".c_") && dims.len() == 2;
            let reversed: Vec<usize> = dims.iter().rev().copied().collect();
            assert_eq!(tensor.dims, if transposed { dims } else { &reversed }, "{case} {placed}");
        }
        assert!(compared >= 8, "{case}: {compared}");
        for (encoding, kind, rtol) in [(Encoding::F16, 1, 1e-3), (Encoding::Bf16, 30, 4e-3), (Encoding::Q8, 8, 0.0)] {
            let (small, report) = write(&folder, &config, encoding);
            for (name, tensor) in &small.tensors {
                let exact = file.tensors[name].floats();
                let largest = exact.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                let precise = tensor.dims.len() == 1 || name == "position_embd.weight";
                let stored = match kind {
                    _ if precise => 0,
                    8 if !tensor.dims[0].is_multiple_of(32) => 1,
                    kind => kind,
                };
                assert_eq!(tensor.kind, stored, "{case} {name}");
                let odd = stored != kind && !precise;
                assert_eq!(report.not_quantized.contains(name), odd, "{case} {name}");
                let atol = if stored == 8 { largest / 240.0 } else { 1e-7 };
                let rtol = if stored == 1 { 1e-3 } else { rtol };
                assert_close(&format!("{case} {name}"), &tensor.floats(), &exact, rtol, atol);
            }
            assert_eq!(small.number("general.file_type"), f64::from(encoding.file_type()));
        }
        // The feed-forward layer is 48 wide.
        let narrow = write(&folder, &config, Encoding::Q8).1.not_quantized;
        assert!(narrow.contains(&"blk.0.ffn_down.weight".to_owned()), "{narrow:?}");
    }
}

#[test]
fn metadata_describe_the_model_and_its_tokenizer() {
    let place = TestFolder::new();
    for (case, folder, config) in cases(&place) {
        let (file, report) = write(&folder, &config, Encoding::F32);
        let arch = file.text("general.architecture").to_owned();
        let number = |key: &str| file.number(&format!("{arch}.{key}"));
        // In the words of most families and in those of GPT-2.
        for (key, names) in [
            ("block_count", ["num_hidden_layers", "n_layer"]),
            ("embedding_length", ["hidden_size", "n_embd"]),
            ("feed_forward_length", ["intermediate_size", "n_inner"]),
            ("attention.head_count", ["num_attention_heads", "n_head"]),
            ("context_length", ["max_position_embeddings", "n_positions"]),
        ] {
            let stated = names.iter().find_map(|name| config[*name].as_f64());
            assert_eq!(Some(number(key)), stated, "{case} {key}");
        }
        assert_eq!(file.text("general.name"), "tiny");
        if let Some(heads) = config["num_key_value_heads"].as_f64() {
            assert_eq!(number("attention.head_count_kv"), heads, "{case}");
        }
        if let Some(epsilon) = config["rms_norm_eps"].as_f64() {
            assert!((number("attention.layer_norm_rms_epsilon") - epsilon).abs() < 1e-9);
        }
        match &case[..] {
            "llama-tied" => {
                assert_eq!((&arch[..], number("rope.dimension_count"), number("rope.freq_base")), ("llama", 8.0, 1e4));
            }
            "llama-untied-rope3" => {
                let factors = file.tensors["rope_freqs.weight"].floats();
                assert_eq!(number("rope.freq_base"), 5e5);
                assert_close("divisors", &factors, &[1.735_941, 8.0, 8.0, 8.0], 1e-6, 0.0);
            }
            "mistral-window" => {
                assert_eq!(arch, "llama");
                assert!(report.notes[0].contains("window of 4 tokens"), "{report:?}");
            }
            "qwen3" => assert_eq!((&arch[..], number("attention.key_length")), ("qwen3", 12.0)),
            "gemma2" => {
                assert_eq!((number("attn_logit_softcapping"), number("final_logit_softcapping")), (50.0, 30.0));
                assert_eq!(number("attention.sliding_window"), 4.0);
            }
            "gpt-neox" | "gpt-neox-serial" => {
                let parallel = file.metadata["gptneox.use_parallel_residual"] == Meta::Flag(true);
                assert_eq!(parallel, config["use_parallel_residual"] == true);
                let share = config["rope_parameters"]["partial_rotary_factor"].as_f64().expect("a share");
                let head = number("embedding_length") / number("attention.head_count");
                assert_eq!(number("rope.dimension_count"), share * head);
                assert!((number("attention.layer_norm_epsilon") - 1e-5).abs() < 1e-9);
                assert!(report.notes[0].contains("gelu"), "{report:?}");
            }
            "gemma3" => assert_eq!((number("rope.freq_base"), number("rope.freq_base_swa")), (1e6, 1e4)),
            _ => {}
        }
        assert_eq!((file.text("tokenizer.ggml.model"), file.text("tokenizer.ggml.pre")), ("gpt2", "gpt-2"));
        let tokens = file.texts("tokenizer.ggml.tokens");
        assert_eq!((tokens.len(), tokens[0], tokens[3], tokens[29]), (67, "<unk>", "a", "Ġ"));
        let kinds = file.numbers("tokenizer.ggml.token_type");
        assert_eq!(kinds[..4], [2.0, 3.0, 3.0, 1.0]);
        assert_eq!(
            (file.number("tokenizer.ggml.bos_token_id"), file.number("tokenizer.ggml.eos_token_id")),
            (1.0, 2.0)
        );
        assert_eq!(file.metadata["tokenizer.ggml.add_bos_token"], Meta::Flag(true));
        assert_eq!(file.metadata["tokenizer.ggml.add_eos_token"], Meta::Flag(false));
    }
}

/// A tokenizer of pieces with `▁` for spaces, in the folder of a model with 67 rows.
fn pieces(folder: &Path, change: impl FnOnce(&mut Value)) {
    let vocab: serde_json::Map<String, Value> =
        ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "t", "h", "e", "▁t", "he", "▁the", "stray"]
            .iter()
            .enumerate()
            .map(|(id, piece)| ((*piece).to_owned(), id.into()))
            .collect();
    let added = |id: usize, text: &str, special: bool| json!({"id": id, "content": text, "special": special});
    let mut tokenizer = json!({
        "version": "1.0", "pre_tokenizer": null, "post_processor": null,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "added_tokens": [added(0, "<unk>", true), added(1, "<s>", true), added(2, "</s>", true), added(12, "<tool>", false)],
        "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "vocab": vocab,
            "merges": [["▁", "t"], ["h", "e"], ["▁t", "he"]]}
    });
    change(&mut tokenizer);
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).expect("tokenizer.json");
    let config = json!({"bos_token": {"content": "<s>"}, "chat_template": [
        {"name": "tools", "template": "no"}, {"name": "default", "template": "yes"}]});
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).expect("tokenizer_config.json");
}

#[test]
fn pieces_have_scores_in_the_order_of_their_merges() {
    let place = TestFolder::new();
    let folder = place.path("model");
    let config: Value = serde_json::from_str(&read_text(&folder.join("config.json"))).expect("JSON");
    pieces(&folder, |_| ());
    let (file, _) = write(&folder, &config, Encoding::F32);
    assert_eq!(file.text("tokenizer.ggml.model"), "llama");
    assert_eq!(file.metadata["tokenizer.ggml.add_space_prefix"], Meta::Flag(true));
    let scores = file.numbers("tokenizer.ggml.scores");
    assert_eq!(scores[..12], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -1e9]);
    let kinds = file.numbers("tokenizer.ggml.token_type");
    assert_eq!(kinds[..14], [2.0, 3.0, 3.0, 6.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 4.0, 5.0]);
    let tokens = file.texts("tokenizer.ggml.tokens");
    assert_eq!((tokens.len(), tokens[12], tokens[66]), (67, "<tool>", "[PAD66]"));
    assert_eq!(file.text("tokenizer.chat_template"), "yes");
    // The end token is that of config.json where the tokenizer names none.
    assert_eq!(file.number("tokenizer.ggml.eos_token_id"), 2.0);

    pieces(&folder, |tokenizer| tokenizer["normalizer"]["normalizers"].as_array_mut().expect("steps").truncate(0));
    refuse(&folder, &config, "neither on bytes nor with ▁");
    pieces(&folder, |tokenizer| tokenizer["model"]["type"] = "Unigram".into());
    refuse(&folder, &config, "of the type Unigram cannot be written");
    pieces(&folder, |tokenizer| tokenizer["added_tokens"][3]["id"] = 67.into());
    refuse(&folder, &config, "\"<tool>\" has no row in the model's table of 67 embeddings");
    let split = |regex: &str| {
        json!({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": regex}},
            {"type": "ByteLevel", "use_regex": false}]})
    };
    pieces(&folder, |tokenizer| tokenizer["pre_tokenizer"] = split("[a-z]+"));
    refuse(&folder, &config, "splitting text by [a-z]+ is not known");
    std::fs::remove_file(folder.join("tokenizer.json")).expect("a file");
    refuse(&folder, &config, "tokenizer.json: it is missing");
}

#[test]
fn families_without_a_place_are_refused() {
    let place = TestFolder::new();
    let bert = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bert-classify/config.json");
    let bert = serde_json::from_str(&read_text(&bert)).expect("JSON");
    refuse(&place.path("model"), &bert, "model_type \"bert\" cannot be written as GGUF; these can: llama, mistral");
}

fn refuse(folder: &Path, config: &Value, words: &str) {
    let weights = Weights::open(folder).expect("weights");
    let path = folder.join("refused.gguf");
    let said = block_on(gguf::write(Source::File(&weights), config, folder, "tiny", Encoding::F32, &path));
    let said = said.expect_err(words).to_string();
    assert!(said.contains(words) && !path.exists(), "{said}");
}

#[test]
fn the_program_writes_models_with_and_without_adapters() {
    let place = TestFolder::new();
    let (model, out) = (place.path("model"), place.path("out"));
    train(&place.config("out"), &ComputeDevice::cpu());
    let (plain, adapted) = (place.path("plain.gguf"), place.path("adapted.gguf"));
    let go = |more: &[&str]| {
        let arguments = ["merge", "--device", "cpu", "--format", "gguf", "--model", text(&model)];
        program(&[&arguments, more].concat()).output().expect("the program")
    };
    assert!(go(&["--out", text(&plain)]).status.success());
    let said = go(&["--out", text(&adapted), "--adapter", text(&out), "--dtype", "q8_0"]);
    assert!(
        String::from_utf8_lossy(&said.stdout).contains("2 matrices have rows that are no multiple of 32"),
        "{said:?}"
    );
    let plain_file = File::read(&plain);
    assert_eq!(plain_file.text("general.name"), "model");

    // The adapter's file equals that of the merged folder.
    let (merged, again) = (place.path("merged"), place.path("again.gguf"));
    agoge(&["merge", "--device", "cpu", "--model", text(&model), "--adapter", text(&out), "--out", text(&merged)]);
    agoge(&["merge", "--format", "gguf", "--dtype", "q8_0", "--model", text(&merged), "--out", text(&again)]);
    let (adapted_file, again_file) = (File::read(&adapted), File::read(&again));
    for (name, tensor) in &adapted_file.tensors {
        assert!(tensor.bytes == again_file.tensors[name].bytes, "{name}");
    }
    assert!(adapted_file.tensors["blk.0.ffn_up.weight"].kind == 8);
    // Its numbers are those of the model with the adapter.
    let device = ComputeDevice::cpu();
    let mut base = Pretrained::load(&model, &device).expect("a model");
    Adapter::read(&out).expect("an adapter").apply(&mut base, &device).expect("its own model");
    let up = base.transformer.parameter_mut("model.layers.0.mlp.up_proj.weight").expect("a parameter").value().dense();
    let up: Vec<f32> = up.into_data().try_into_vec().expect("f32");
    assert_close("with adapter", &adapted_file.tensors["blk.0.ffn_up.weight"].floats(), &up, 0.0, 0.02);
    assert!(up != plain_file.tensors["blk.0.ffn_up.weight"].floats());

    for (arguments, words) in [
        (&["--out", text(&plain)][..], "there is a file of this name already; use --overwrite"),
        (&["--out", text(&model)], "this is a folder; give the name of a file"),
        (&["--out", text(&again), "--overwrite", "--dtype", "f8"], "'f8'"),
    ] {
        let said = go(arguments);
        assert!(!said.status.success() && String::from_utf8_lossy(&said.stderr).contains(words), "{said:?}");
    }
    let folder = ["merge", "--model", text(&model), "--adapter", text(&out), "--dtype", "q8_0", "--out", "x"];
    let said = program(&folder).output().expect("the program");
    assert!(String::from_utf8_lossy(&said.stderr).contains("q8_0 is a type of GGUF files"), "{said:?}");
}

#[test]
fn a_real_tokenizer_keeps_its_order() {
    let Some(folder) = shared("models/stories260K") else { return };
    let place = TempDir::new().expect("a folder");
    let path = place.path().join("stories.gguf");
    agoge(&["merge", "--format", "gguf", "--model", text(&folder), "--out", text(&path)]);
    let file = File::read(&path);
    let tokenizer: Value = serde_json::from_str(&read_text(&folder.join("tokenizer.json"))).expect("JSON");
    let (tokens, scores) = (file.texts("tokenizer.ggml.tokens"), file.numbers("tokenizer.ggml.scores"));
    let score: BTreeMap<&str, f64> = tokens.iter().copied().zip(scores).collect();
    let mut made = BTreeMap::new();
    for (place, merge) in tokenizer["model"]["merges"].as_array().expect("merges").iter().enumerate() {
        // A piece that several merges make has the score of the first.
        let piece = format!("{}{}", merge[0].as_str().expect("a piece"), merge[1].as_str().expect("a piece"));
        made.entry(piece).or_insert(-(place as f64));
    }
    assert!(made.len() > 100 && made.iter().all(|(piece, expected)| score[&piece[..]] == *expected));
    assert_eq!((tokens.len(), file.tensors["token_embd.weight"].dims.clone()), (512, vec![64, 512]));
}
