//! Small tokenizers made in memory for the tests of this module, and the way to shared real files.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::chat::tests::CHATML;
use super::tokenizer::Tokenizer;

/// The folder `part` of the shared real models and data, or `None` with a notice (an error on CI).
pub(crate) fn shared_folder(part: &str) -> Option<PathBuf> {
    let root = std::env::var_os("AGOGE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")), PathBuf::from);
    let folder = root.join(part);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing; set AGOGE_SHARED", folder.display());
    eprintln!("skipped: {} is missing; set AGOGE_SHARED", folder.display());
    None
}

fn added(id: usize, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true})
}

fn tokenizer_json(vocab: Map<String, Value>, specials: &[(usize, &str)], rest: Value) -> Vec<u8> {
    let fallback = rest["byte_fallback"].clone();
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": specials.iter().map(|&(id, text)| added(id, text)).collect::<Vec<_>>(),
        "normalizer": rest["normalizer"], "pre_tokenizer": rest["pre_tokenizer"],
        "post_processor": rest["post_processor"], "decoder": rest["decoder"],
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": fallback, "ignore_merges": false,
            "vocab": vocab, "merges": []}
    })
    .to_string()
    .into_bytes()
}

/// GPT-2 style: one token a byte, no BOS; `<|endoftext|>` 256, `<|im_start|>` 257, `<|im_end|>` 258.
pub(crate) fn byte_level_tokenizer_json() -> Vec<u8> {
    let mut vocab = Map::new();
    let mut shifted = 256;
    for byte in 0..=255u32 {
        let own = matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let code = if own { byte } else { shifted };
        shifted += u32::from(!own);
        vocab.insert(char::from_u32(code).expect("char").to_string(), byte.into());
    }
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let specials = [(256, "<|endoftext|>"), (257, "<|im_start|>"), (258, "<|im_end|>")];
    let rest = json!({"byte_fallback": false, "normalizer": null, "pre_tokenizer": byte_level,
        "post_processor": byte_level, "decoder": byte_level});
    tokenizer_json(vocab, &specials, rest)
}

/// Llama style: letters, `▁` and a token for each other byte; the post-processor writes `<s>` (1); `</s>` is 2.
pub(crate) fn byte_fallback_tokenizer_json() -> Vec<u8> {
    let mut vocab = Map::new();
    let bytes = (0..=255u32).map(|byte| format!("<0x{byte:02X}>"));
    let letters = ('a'..='z').map(String::from).chain(["▁".to_string()]);
    for (id, token) in ["<unk>", "<s>", "</s>"].map(String::from).into_iter().chain(bytes).chain(letters).enumerate() {
        vocab.insert(token, id.into());
    }
    let rest = json!({
        "byte_fallback": true,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    });
    tokenizer_json(vocab, &[(0, "<unk>"), (1, "<s>"), (2, "</s>")], rest)
}

/// BERT style: WordPiece with the ids of `bert-base-uncased` for a few words, no begin and no end token. `padding` and
/// `truncation` are set, as the files of sentence encoders have them.
pub(crate) fn bert_tokenizer_json() -> Vec<u8> {
    let words =
        [("[PAD]", 0), ("[UNK]", 100), ("[CLS]", 101), ("[SEP]", 102), ("world", 2088), ("hello", 7592), ("##s", 2015)];
    let vocab: Map<String, Value> = words.iter().map(|&(word, id)| (word.to_string(), id.into())).collect();
    let special = |token: &str, kind: u32| json!({"SpecialToken": {"id": token, "type_id": kind}});
    let text = |name: &str, kind: u32| json!({"Sequence": {"id": name, "type_id": kind}});
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 12}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": words[..4].iter().map(|&(text, id)| added(id as usize, text)).collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)],
            "pair": [special("[CLS]", 0), text("A", 0), special("[SEP]", 0), text("B", 1), special("[SEP]", 1)],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [101], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [102], "tokens": ["[SEP]"]}}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab}
    })
    .to_string()
    .into_bytes()
}

/// BERT style with the names of its special tokens.
pub(crate) fn bert_tokenizer() -> Tokenizer {
    let config = br#"{"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}"#;
    Tokenizer::from_parts(&bert_tokenizer_json(), Some(config), None, &[]).expect("tokenizer")
}

/// One token a byte, end token `<|endoftext|>`, no template.
pub(crate) fn byte_level_tokenizer() -> Tokenizer {
    Tokenizer::from_parts(&byte_level_tokenizer_json(), Some(br#"{"eos_token": "<|endoftext|>"}"#), None, &[])
        .expect("tokenizer")
}

/// Llama style with BOS and end token, no template.
pub(crate) fn byte_fallback_tokenizer() -> Tokenizer {
    let config = br#"{"bos_token": "<s>", "eos_token": "</s>"}"#;
    Tokenizer::from_parts(&byte_fallback_tokenizer_json(), Some(config), None, &[]).expect("tokenizer")
}

/// One token a byte with `template` and end token `<|im_end|>`.
pub(crate) fn chat_tokenizer_with(template: &str) -> Tokenizer {
    Tokenizer::from_parts(&byte_level_tokenizer_json(), Some(br#"{"eos_token": "<|im_end|>"}"#), Some(template), &[])
        .expect("tokenizer")
}

/// One token a byte with the ChatML template.
pub(crate) fn chat_tokenizer() -> Tokenizer {
    chat_tokenizer_with(CHATML)
}
