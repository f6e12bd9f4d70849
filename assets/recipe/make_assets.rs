//! Makes the files behind the embedded demo: the pretraining text, the tokenizer, and the laconic demo rows.
//!
//! Everything comes from a small grammar and a seed, so the same command writes the same bytes everywhere:
//!
//! ```text
//! cargo run --release --example make_assets -- text --out DIR --seed 1 --megabytes 12
//! cargo run --release --example make_assets -- tokenizer --text DIR/train.txt --vocab 1024 --out assets/model/tokenizer.json
//! cargo run --release --example make_assets -- demo --out assets/demo --seed 1
//! ```

mod grammar;
mod laconic;
mod stories;

use agoge::error::{Error, Result};
use agoge::{event::TrainedTensor, files, method::adapter::Adapter, model::save::cast};
use clap::{Parser, Subcommand};
use safetensors::Dtype;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, ModelWrapper, Tokenizer};

/// The special tokens, in the order of their ids.
const SPECIAL: [&str; 3] = ["<|pad|>", "<|bos|>", "<|eos|>"];
/// How much text the model can see at once.
const CONTEXT: usize = 256;
/// How many rows of each family the demo trains on.
const TRAIN_ROWS: usize = 45;
/// How many rows of each family the demo validates on.
const VALID_ROWS: usize = 5;

/// Makes the files behind the embedded demo.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    task: Task,
}

/// What to make.
#[derive(Subcommand)]
enum Task {
    /// Write the pretraining text: train.txt and valid.txt, documents parted by one blank line.
    Text {
        /// The folder to write into.
        #[arg(long)]
        out: PathBuf,
        /// The seed of all choices.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The size of train.txt in millions of bytes; valid.txt gets a fiftieth of it.
        #[arg(long, default_value_t = 12.0)]
        megabytes: f64,
    },
    /// Train the tokenizer on a text and write it with its tokenizer_config.json.
    Tokenizer {
        /// The text to learn from.
        #[arg(long)]
        text: PathBuf,
        /// How many tokens to have.
        #[arg(long, default_value_t = 1024)]
        vocab: usize,
        /// The tokenizer.json to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write the demo rows: train.jsonl, valid.jsonl and prompts.jsonl.
    Demo {
        /// The folder to write into.
        #[arg(long)]
        out: PathBuf,
        /// The seed of all choices.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Write a model folder from the weights of a full training run, in f16.
    Pack {
        /// The folder with config.json and the tokenizer that the run started from.
        #[arg(long)]
        init: PathBuf,
        /// The folder of the run.
        #[arg(long)]
        run: PathBuf,
        /// The folder to write into.
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> std::process::ExitCode {
    let done = match Options::parse().task {
        Task::Text { out, seed, megabytes } => write_text(&out, seed, megabytes),
        Task::Tokenizer { text, vocab, out } => write_tokenizer(&text, vocab, &out),
        Task::Demo { out, seed } => write_demo(&out, seed),
        Task::Pack { init, run, out } => pack(&init, &run, &out),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("make_assets: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// Casts every weight of a full run to f16 once, and copies configuration and tokenizer.
fn pack(init: &Path, run: &Path, out: &Path) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Settings {
        tensors: Vec<TrainedTensor>,
    }
    let adapter = Adapter::read(run)?;
    let settings: Settings = adapter.settings()?;
    let mut tensors = Vec::new();
    for tensor in settings.tensors {
        let values = adapter.weights.floats(&tensor.name)?;
        tensors.push((tensor.name, tensor.shape, cast(&values, Dtype::F16)?));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| (name.clone(), Dtype::F16, shape.clone(), &bytes[..]));
    fs::create_dir_all(out).map_err(|e| Error::file("create", out, e))?;
    files::write(&out.join("model.safetensors"), &files::safetensors(views, &[("format", "pt")])?)?;
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        let from = init.join(name);
        let bytes = fs::read(&from).map_err(|e| Error::file("read", &from, e))?;
        files::write(&out.join(name), &bytes)?;
    }
    println!("{}: {} tensors in f16", out.display(), tensors.len());
    Ok(())
}

/// Writes train.txt and valid.txt; no document appears twice.
fn write_text(out: &Path, seed: u64, megabytes: f64) -> Result<()> {
    let mut seen = BTreeSet::new();
    for (purpose, bytes) in [("train", megabytes * 1e6), ("valid", megabytes * 2e4)] {
        let (mut text, mut number, mut kept, mut exchanges, mut bits) = (String::new(), 0, 0u64, 0u64, 0.0);
        while (text.len() as f64) < bytes {
            let document = stories::document(seed, purpose, number);
            number += 1;
            if !seen.insert(document.text.clone()) {
                continue;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&document.text);
            text.push('\n');
            kept += 1;
            exchanges += u64::from(document.exchange);
            bits += document.bits;
        }
        let words = text.split_whitespace().count();
        let distinct: BTreeSet<&str> = text.split(|letter: char| !letter.is_alphabetic()).collect();
        println!(
            "{purpose}: {} bytes, {kept} documents ({:.1} % questions with answers, {} repeats left out), {words} words \
             ({:.1} a document, {} distinct), {:.1} bits of choice a document, {:.3} a word",
            text.len(),
            100.0 * exchanges as f64 / kept as f64,
            number - kept,
            words as f64 / kept as f64,
            distinct.len(),
            bits / kept as f64,
            bits / words as f64,
        );
        write(&out.join(format!("{purpose}.txt")), &text)?;
    }
    Ok(())
}

/// Trains and writes the tokenizer, then prints how well it fits the text.
fn write_tokenizer(text: &Path, vocab: usize, out: &Path) -> Result<()> {
    if vocab < SPECIAL.len() + 256 {
        return Err(Error::input(format!(
            "--vocab {vocab} is too small: every byte needs a token, so give 259 or more"
        )));
    }
    let content = fs::read_to_string(text).map_err(|error| Error::file("read", text, error))?;
    let tokenizer = train_tokenizer(&content, vocab).map_err(|error| Error::Run(format!("tokenizer: {error}")))?;
    round_trip(&tokenizer, &content).map_err(|error| Error::Run(format!("tokenizer: {error}")))?;
    let json = tokenizer.to_string(true).map_err(|error| Error::Run(format!("tokenizer: {error}")))?;
    write(out, &(json + "\n"))?;
    let config = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[1],
        "eos_token": SPECIAL[2],
        "pad_token": SPECIAL[0],
        "add_bos_token": true,
        "add_eos_token": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": CONTEXT,
    });
    write(&out.with_file_name("tokenizer_config.json"), &format!("{config:#}\n"))?;
    report(&tokenizer, &content).map_err(|error| Error::Run(format!("tokenizer: {error}")))
}

/// A byte-level tokenizer learnt from the text, which puts the begin token before whatever it encodes.
fn train_tokenizer(content: &str, vocab: usize) -> tokenizers::Result<Tokenizer> {
    let specials = SPECIAL.map(|token| AddedToken::from(token, true)).to_vec();
    let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
        .vocab_size(vocab)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(specials.clone())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
        .into();
    let mut tokenizer = Tokenizer::new(ModelWrapper::BPE(BPE::default()));
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
    tokenizer.train(&mut trainer, content.split_inclusive('\n'))?;
    let begin = TemplateProcessing::builder()
        .try_single(format!("{} $A", SPECIAL[1]))?
        .try_pair(format!("{0} $A {0} $B:1", SPECIAL[1]))?
        .special_tokens(vec![(SPECIAL[1], 1)])
        .build()?;
    tokenizer.with_post_processor(Some(begin));
    Ok(tokenizer)
}

/// Checks that the tokenizer gives back what it was given, whatever the bytes are.
fn round_trip(tokenizer: &Tokenizer, content: &str) -> tokenizers::Result<()> {
    let odd: String = ('\0'..='\u{7ff}').chain("\u{20ac}\u{1f410}".chars()).collect();
    for text in content.split("\n\n").take(1000).chain([odd.as_str()]) {
        let ids = tokenizer.encode(text, true)?.get_ids().to_vec();
        if ids[0] != 1 || tokenizer.decode(&ids, true)? != text {
            return Err(format!("this text does not come back as it was: {text:?}").into());
        }
    }
    Ok(())
}

/// Prints how long the documents of the text are in tokens and how evenly the tokens are used.
fn report(tokenizer: &Tokenizer, content: &str) -> tokenizers::Result<()> {
    let documents: Vec<&str> = content.trim_end().split("\n\n").take(20_000).collect();
    let (mut lengths, mut counts, mut pairs, mut words) = (Vec::new(), BTreeMap::new(), BTreeMap::new(), 0);
    for document in &documents {
        let ids = tokenizer.encode(*document, true)?.get_ids().to_vec();
        words += document.split_whitespace().count();
        lengths.push(ids.len() - 1);
        for pair in ids.windows(2) {
            *counts.entry(pair[1]).or_insert(0u64) += 1;
            *pairs.entry((pair[0], pair[1])).or_insert(0u64) += 1;
        }
    }
    let total: usize = lengths.iter().sum();
    let entropy = |counts: &mut dyn Iterator<Item = u64>| -> f64 {
        counts.map(|count| count as f64 / total as f64).map(|share| -share * share.log2()).sum()
    };
    let single = entropy(&mut counts.values().copied());
    let double = entropy(&mut pairs.values().copied());
    lengths.sort_unstable();
    println!(
        "tokenizer: {} tokens, {} of them used; over {} documents: {:.3} tokens a word, {:.1} a document (median {}, \
         99th percentile {}, longest {}), entropy {:.2} bits a token, {:.2} given the token before",
        tokenizer.get_vocab_size(true),
        counts.len(),
        documents.len(),
        total as f64 / words as f64,
        total as f64 / documents.len() as f64,
        lengths[lengths.len() / 2],
        lengths[lengths.len() * 99 / 100],
        lengths[lengths.len() - 1],
        single,
        double - single,
    );
    Ok(())
}

/// Writes the demo rows and checks that no validation row and no shown prompt is trained on.
fn write_demo(out: &Path, seed: u64) -> Result<()> {
    let train = laconic::rows(seed, "train", TRAIN_ROWS, false);
    let valid = laconic::rows(seed, "valid", VALID_ROWS, true);
    let showcase = laconic::showcase();
    let known: BTreeSet<&str> = train.iter().map(|row| row.prompt.as_str()).collect();
    if let Some(row) = valid.iter().chain(&showcase).find(|row| known.contains(row.prompt.as_str())) {
        return Err(Error::Run(format!("this prompt is also in the train rows: {:?}", row.prompt)));
    }
    for (name, rows) in [("train", &train), ("valid", &valid), ("prompts", &showcase)] {
        let lines = rows
            .iter()
            .map(|row| format!("{}\n", serde_json::json!({ "prompt": row.prompt, "completion": row.completion })));
        let text: String = lines.collect();
        println!("{name}: {} rows, {} bytes", rows.len(), text.len());
        write(&out.join(format!("{name}.jsonl")), &text)?;
    }
    Ok(())
}

/// Writes a file, with the folders it lies in.
fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| Error::file("create", folder, error))?;
    fs::write(path, text).map_err(|error| Error::file("write", path, error))
}
