//! A model's tokenizer as its folder describes it: text to ids and back, the special tokens, the chat template.
//!
//! Wraps the `tokenizers` crate. It is not where text is cut: truncation and padding asked for by `tokenizer.json` are
//! switched off, lengths are the business of the rows.

use std::collections::BTreeMap;
use std::path::Path;

use super::chat::{self, ChatTemplate, Message};
use super::clock::Date;
use super::tokenizer_files::TokenizerFiles;
use crate::error::{Error, Result};
use crate::panics;

/// A tokenizer with its special tokens and chat template.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// What messages call its file.
    name: String,
    /// BLAKE3 of `tokenizer.json` and of the special ids.
    digest: String,
    bos: Option<u32>,
    eos: Vec<u32>,
    eos_text: String,
    template: Option<ChatTemplate>,
    /// Ids that the post-processor writes before a text (usually BOS or nothing).
    prefix: Vec<u32>,
    /// Ids that the post-processor writes after a text (usually nothing).
    suffix: Vec<u32>,
    /// Special tokens and end tokens, by id.
    special: BTreeMap<u32, String>,
    unknown: Option<u32>,
    id_bound: usize,
}

/// The ids of one text and, for each id, the byte offset in the text at which it ends.
pub(crate) struct EncodedText {
    pub ids: Vec<u32>,
    pub ends: Vec<usize>,
}

impl Tokenizer {
    /// Reads the tokenizer of a model folder: `tokenizer.json` and, where present, `tokenizer_config.json`,
    /// `special_tokens_map.json`, `chat_template.jinja`, `generation_config.json` and `config.json` (end tokens).
    ///
    /// # Errors
    /// When `tokenizer.json` is missing, or one of these files cannot be read or understood, or the tokenizer fails when
    /// it is tried.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        Self::build(TokenizerFiles::from_folder(folder)?)
    }

    /// Builds a tokenizer from file contents in memory (embedded model, browser). `chat_template` wins over the one
    /// in `tokenizer_config`; `eos` are the end token ids of `generation_config.json` or `config.json`.
    ///
    /// # Errors
    /// When a part cannot be understood, or the tokenizer fails when it is tried.
    pub fn from_parts(
        tokenizer_json: &[u8],
        tokenizer_config: Option<&[u8]>,
        chat_template: Option<&str>,
        eos: &[u32],
    ) -> Result<Self> {
        Self::build(TokenizerFiles::from_memory(tokenizer_json, tokenizer_config, chat_template, eos)?)
    }

    fn build(files: TokenizerFiles) -> Result<Self> {
        let unreadable =
            |why: &str| Error::input(format!("{} is not a tokenizer this program can read: {why}", files.name));
        let mut inner = panics::caught(|| tokenizers::Tokenizer::from_bytes(&files.json))
            .map_err(|panic| unreadable(&panic.message))?
            .map_err(|e| unreadable(&e.to_string()))?;
        inner
            .with_truncation(None)
            .map_err(|e| Error::input(format!("{}: truncation cannot be switched off: {e}", files.name)))?;
        inner.with_padding(None);

        let token_text = |key: &str| files.token_text(key);
        let bos = token_text("bos_token").and_then(|text| inner.token_to_id(&text));
        let mut ends: Vec<u32> =
            token_text("eos_token").and_then(|text| inner.token_to_id(&text)).into_iter().collect();
        for &id in &files.eos {
            if !ends.contains(&id) {
                ends.push(id);
            }
        }
        let eos_text = ends.first().and_then(|&id| inner.id_to_token(id)).unwrap_or_default();

        let mut variables = Vec::new();
        for key in ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"] {
            if let Some(text) = token_text(key) {
                variables.push((key.to_string(), text));
            }
        }
        if !variables.iter().any(|(key, _)| key == "eos_token") && !eos_text.is_empty() {
            variables.push(("eos_token".into(), eos_text.clone()));
        }
        let template = files.template.as_ref();
        let template = template.map(|(name, source)| ChatTemplate::new(name, source, &variables)).transpose()?;

        let mut special: BTreeMap<u32, String> = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, token)| (id, token.content))
            .collect();
        special.extend(ends.iter().filter_map(|&id| Some((id, inner.id_to_token(id)?))));
        // GPT-2 calls its end token the unknown token too; such a one counts nothing.
        let unknown = token_text("unk_token")
            .and_then(|text| inner.token_to_id(&text))
            .filter(|id| !ends.contains(id) && bos != Some(*id));
        let mut ids: Vec<u32> = inner.get_vocab(true).into_values().collect();
        ids.sort_unstable();
        let id_bound = ids.last().map_or(0, |&id| id as usize + 1);
        let mut digest = blake3::Hasher::new();
        digest.update(&files.json).update(format!("{bos:?} {ends:?} {unknown:?}").as_bytes());
        let mut tokenizer = Self {
            inner,
            name: files.name.clone(),
            digest: digest.finalize().to_hex().to_string(),
            bos,
            eos: ends,
            eos_text,
            template,
            prefix: Vec::new(),
            suffix: Vec::new(),
            special,
            unknown,
            id_bound,
        };
        tokenizer.try_out(&ids)?;
        (tokenizer.prefix, tokenizer.suffix) = special_affixes(&tokenizer.inner);
        Ok(tokenizer)
    }

    /// Encodes a text, alone and as one of two, and decodes every token. Much of `tokenizer.json` is checked only when it
    /// is used, and some of it then panics; better now than in the middle of a run.
    fn try_out(&self, ids: &[u32]) -> Result<()> {
        const TEXT: &str = "Once upon a time,\n 12 né 日本 😀";
        self.guarded(|inner| {
            // Not every tokenizer has a token for every character: an error here says nothing of the next text.
            let _ = inner.encode_fast(TEXT, true);
            let _ = inner.encode((TEXT, "a"), true);
            for text in ["a", " ", ""] {
                let _ = inner.encode(text, false);
            }
        })?;
        self.guarded(|inner| inner.decode(ids, false))?
            .map(|_| ())
            .map_err(|e| Error::input(format!("{}: its decoder fails: {e}; {}", self.name, GET_AGAIN)))
    }

    /// Does some work with the tokenizer. The library panics on some files that it has read without complaint.
    ///
    /// # Errors
    /// The library panicked.
    pub(super) fn guarded<T>(&self, work: impl FnOnce(&tokenizers::Tokenizer) -> T) -> Result<T> {
        panics::caught(|| work(&self.inner)).map_err(|panic| {
            let why = panic.message.lines().next().unwrap_or_default().to_owned();
            Error::input(format!("{} is damaged: using it fails inside ({why}); {}", self.name, GET_AGAIN))
        })
    }

    /// Gives the chat template this date (2024-07-26) instead of today's; nothing where `date` is empty.
    ///
    /// # Errors
    /// It is no date, or no chat template asks for one.
    pub fn with_chat_date(mut self, date: &str) -> Result<Self> {
        if date.is_empty() {
            return Ok(self);
        }
        let date = Date::parse(date)
            .ok_or_else(|| Error::input(format!("--chat-date {date}: not a date; write it as 2024-07-26")))?;
        match self.template.as_mut().filter(|template| template.asks_for_date()) {
            Some(template) => template.set_date(date),
            None => {
                return Err(Error::input(format!(
                    "--chat-date {date}: the model has no chat template that asks for a date; leave it out"
                )));
            }
        }
        Ok(self)
    }

    /// The date that the chat template is given, as 2024-07-26; `None` where none asks for it.
    pub fn chat_date(&self) -> Option<String> {
        Some(self.template.as_ref()?.date()?.to_string())
    }

    /// Identity of the tokenizer.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// The ids of `text`; with `add_special` also what the tokenizer's post-processor writes around it (BOS, ...).
    ///
    /// # Errors
    /// When the tokenizer cannot encode the text (an unknown character and no unknown token, for example).
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let encoding = self.guarded(|inner| inner.encode_fast(text, add_special))?.map_err(|e| cannot_encode(&e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of a text that is to be continued; the start token, where it is empty.
    ///
    /// # Errors
    /// An empty text without a start token, or a tokenizer that fails.
    pub fn encode_prompt(&self, prompt: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode(prompt, true)?;
        if ids.is_empty() {
            ids.extend(self.bos);
        }
        if ids.is_empty() {
            return Err(Error::input(
                "--prompt is empty and this tokenizer has no start token; give at least one word",
            ));
        }
        Ok(ids)
    }

    /// The text of `ids`; with `skip_special` special tokens are left out.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails. Ids outside the vocabulary are left out, as the library does.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.guarded(|inner| inner.decode(ids, skip_special))?
            .map_err(|e| Error::input(format!("the tokenizer cannot turn these token ids into text: {e}")))
    }

    /// The ids of a conversation as the chat template writes it. The template writes BOS itself, so the tokenizer
    /// adds none. Without a template the plain format of [`Self::render_chat`] is used, with the tokenizer's BOS.
    ///
    /// # Errors
    /// When the template refuses the messages or the text cannot be encoded.
    pub fn encode_chat(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Vec<u32>> {
        let text = self.render_chat(messages, add_generation_prompt)?;
        let mut ids = if self.template.is_some() { Vec::new() } else { self.prefix.clone() };
        ids.extend(self.encode(&text, false)?);
        Ok(ids)
    }

    /// The text of a conversation: by the chat template, or without one in the plain format
    /// `### User:\n...\n### Assistant:\n...<end token>\n`.
    ///
    /// # Errors
    /// When the template refuses the messages.
    pub fn render_chat(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        match &self.template {
            Some(template) => template.render(messages, add_generation_prompt),
            None => Ok(chat::render_plain(messages, add_generation_prompt, &self.eos_text)),
        }
    }

    /// Number of tokens, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// One more than the largest id (more than [`Self::vocab_size`] where the ids have holes).
    pub fn id_bound(&self) -> usize {
        self.id_bound
    }

    /// The id of the begin token, if the tokenizer has one.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// The ids that end a text: the tokenizer's own first (the one that training appends), then the others of
    /// `generation_config.json`. Empty when there is none.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos
    }

    /// The id of a token by its text.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The chat template, if the model has one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// The text of `id` if it is a special token or an end token.
    pub(crate) fn special_text(&self, id: u32) -> Option<&str> {
        self.special.get(&id).map(String::as_str)
    }

    /// The id that stands for what the tokenizer has no token for, where it has one of its own.
    pub(crate) fn unknown_id(&self) -> Option<u32> {
        self.unknown
    }

    /// The ids that the post-processor writes before a text.
    pub(crate) fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// The ids that the post-processor writes after a text.
    pub(crate) fn suffix(&self) -> &[u32] {
        &self.suffix
    }

    /// The ids of many texts without special tokens; in parallel where there are threads.
    pub(crate) fn encode_many(&self, texts: Vec<&str>) -> Result<Vec<Vec<u32>>> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let encodings = self.guarded(|inner| inner.encode_batch_fast(texts, false))?;
            let encodings = encodings.map_err(|e| cannot_encode(&e))?;
            Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
        }
        #[cfg(target_arch = "wasm32")]
        texts.into_iter().map(|text| self.encode(text, false)).collect()
    }

    /// The ids of many texts without special tokens, each with the byte offset at which it ends.
    pub(crate) fn encode_many_with_ends(&self, texts: Vec<&str>) -> Result<Vec<EncodedText>> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let encodings = self.guarded(|inner| inner.encode_batch(texts, false))?;
            let encodings = encodings.map_err(|e| cannot_encode(&e))?;
            Ok(encodings.iter().map(EncodedText::of).collect())
        }
        #[cfg(target_arch = "wasm32")]
        texts
            .into_iter()
            .map(|text| {
                let encoding = self.guarded(|inner| inner.encode(text, false))?;
                encoding.map(|e| EncodedText::of(&e)).map_err(|e| cannot_encode(&e))
            })
            .collect()
    }
}

impl EncodedText {
    fn of(encoding: &tokenizers::Encoding) -> Self {
        Self { ids: encoding.get_ids().to_vec(), ends: encoding.get_offsets().iter().map(|&(_, end)| end).collect() }
    }
}

/// What to do about a damaged file.
const GET_AGAIN: &str = "copy or download the model's tokenizer again";

pub(crate) fn cannot_encode(reason: &dyn std::fmt::Display) -> Error {
    Error::input(format!("the tokenizer cannot encode this text: {reason}"))
}

/// What the post-processor writes before and after a text, found by encoding a letter with and without it.
fn special_affixes(inner: &tokenizers::Tokenizer) -> (Vec<u32>, Vec<u32>) {
    let ids = |special| inner.encode_fast("a", special).map(|encoding| encoding.get_ids().to_vec());
    let (Ok(plain), Ok(full)) = (ids(false), ids(true)) else { return (Vec::new(), Vec::new()) };
    if plain.is_empty() {
        return (full, Vec::new());
    }
    match full.windows(plain.len()).position(|window| window == plain) {
        Some(start) => (full[..start].to_vec(), full[start + plain.len()..].to_vec()),
        None => (Vec::new(), Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::testing::{
        bert_tokenizer_json, byte_fallback_tokenizer_json, byte_level_tokenizer_json, shared_folder,
    };
    use super::*;

    #[test]
    fn missing_tokenizer_is_one_sentence() {
        let folder = tempfile::tempdir().expect("temp folder");
        let Err(error) = Tokenizer::from_folder(folder.path()) else { panic!("must fail") };
        assert!(error.to_string().starts_with("no tokenizer.json in "), "{error}");
    }

    #[test]
    fn truncation_and_padding_are_off() {
        let mut json: Value = serde_json::from_slice(&byte_level_tokenizer_json()).expect("json");
        json["truncation"] =
            serde_json::json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
        json["padding"] = serde_json::json!({"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"});
        let tokenizer = Tokenizer::from_parts(json.to_string().as_bytes(), None, None, &[]).expect("tokenizer");
        assert_eq!(tokenizer.encode("abcdefghijklmnop", false).expect("ids").len(), 16);
        assert_eq!(tokenizer.encode("abc", false).expect("ids").len(), 3);
    }

    #[test]
    fn bert_needs_no_end_token() {
        let folder = tempfile::tempdir().expect("temp folder");
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("write");
        write("tokenizer.json", &bert_tokenizer_json());
        write("tokenizer_config.json", br#"{"unk_token": "[UNK]", "sep_token": "[SEP]", "cls_token": "[CLS]"}"#);
        write("config.json", br#"{"model_type": "bert", "pad_token_id": 0}"#);
        let tokenizer = Tokenizer::from_folder(folder.path()).expect("tokenizer");
        assert_eq!(tokenizer.encode("Hello WORLDS xyz", true).expect("ids"), [101, 7592, 2088, 2015, 100, 102]);
        assert_eq!((tokenizer.bos_id(), tokenizer.eos_ids(), tokenizer.unknown_id()), (None, &[][..], Some(100)));
        assert_eq!((tokenizer.prefix(), tokenizer.suffix()), (&[101][..], &[102][..]));
        assert_eq!((tokenizer.vocab_size(), tokenizer.id_bound()), (7, 7593));
        assert_eq!(tokenizer.decode(&[101, 7592, 2088, 2015, 102], true).expect("text"), "hello worlds");
    }

    #[test]
    fn special_tokens_come_from_the_config() {
        let config = br#"{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template":
            [{"name": "tool", "template": "no"}, {"name": "default", "template": "{{ bos_token }}yes"}]}"#;
        let tokenizer =
            Tokenizer::from_parts(&byte_fallback_tokenizer_json(), Some(config), None, &[2, 7]).expect("tokenizer");
        assert_eq!(tokenizer.bos_id(), Some(1));
        assert_eq!(tokenizer.eos_ids(), [2, 7]);
        assert_eq!(tokenizer.prefix(), [1]);
        assert_eq!(tokenizer.suffix(), [] as [u32; 0]);
        assert_eq!(tokenizer.render_chat(&[], false).expect("text"), "<s>yes");
    }

    #[test]
    fn a_folder_is_read_with_all_its_files() {
        let folder = tempfile::tempdir().expect("temp folder");
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("write");
        write("tokenizer.json", &byte_fallback_tokenizer_json());
        write("tokenizer_config.json", br#"{"chat_template": "from config"}"#);
        write("special_tokens_map.json", br#"{"bos_token": "<s>", "eos_token": {"content": "</s>"}}"#);
        write("chat_template.jinja", b"from file {{ eos_token }}");
        write("config.json", br#"{"eos_token_id": [5, 6]}"#);
        let tokenizer = Tokenizer::from_folder(folder.path()).expect("tokenizer");
        assert_eq!(tokenizer.bos_id(), Some(1));
        assert_eq!(tokenizer.eos_ids(), [2, 5, 6]);
        assert_eq!(tokenizer.render_chat(&[], false).expect("text"), "from file </s>");
        write("generation_config.json", br#"{"eos_token_id": 9}"#);
        assert_eq!(Tokenizer::from_folder(folder.path()).expect("tokenizer").eos_ids(), [2, 9]);
        write("config.json", b"{");
        write("generation_config.json", b"[1]");
        let Err(error) = Tokenizer::from_folder(folder.path()) else { panic!("must fail") };
        assert!(error.to_string().contains("generation_config.json must hold one JSON object"), "{error}");
    }

    #[test]
    fn a_tokenizer_that_panics_when_it_is_used_is_refused() {
        let mut json: Value = serde_json::from_slice(&byte_level_tokenizer_json()).expect("json");
        // The library cuts a token from both ends, and fails where the two cuts meet.
        json["decoder"] = serde_json::json!({"type": "Strip", "content": "a", "start": 1, "stop": 9});
        let folder = tempfile::tempdir().expect("temp folder");
        std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).expect("write");
        let Err(error) = Tokenizer::from_folder(folder.path()) else { panic!("must fail") };
        let told = error.to_string();
        assert!(told.contains("tokenizer.json is damaged") && told.contains("download"), "{told}");
    }

    #[test]
    fn real_tokenizers_round_trip() {
        let Some(shared) = shared_folder("models") else { return };
        for model in ["stories260K", "babyllama105"] {
            let tokenizer = Tokenizer::from_folder(&shared.join(model)).expect("tokenizer");
            let text = "Once upon a time, Tom said hi.";
            let ids = tokenizer.encode(text, true).expect("ids");
            assert_eq!(ids[0], 1);
            assert_eq!(tokenizer.decode(&ids, true).expect("text"), text);
            assert_eq!(tokenizer.bos_id(), Some(1));
            assert_eq!(tokenizer.eos_ids(), [2]);
        }
    }
}
