//! `agoge demo`: the model inside this program, fine-tuned in front of one's eyes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde::Deserialize;

use super::{
    chart::sparkline,
    format::{count, percent, seconds},
    signals,
    terminal::{Terminal, Verbosity},
};
use crate::{
    Error, Result,
    config::{Prompts, RunConfig},
    data::{Dataset, Source, Tokenizer},
    device::{self, ComputeDevice, DeviceChoice},
    event::{Ending, Event},
    files,
    model::Pretrained,
    train::{Inputs, Run, folder::prepare_out, inputs::data_settings},
};

const MODEL: &str = "agoge-demo";
const CONFIG: &str = include_str!("../../assets/model/config.json");
const WEIGHTS: &[u8] = include_bytes!("../../assets/model/model.safetensors");
const TOKENIZER: &str = include_str!("../../assets/model/tokenizer.json");
const TOKENIZER_CONFIG: &str = include_str!("../../assets/model/tokenizer_config.json");
const TRAIN: &str = include_str!("../../assets/demo/train.jsonl");
const VALID: &str = include_str!("../../assets/demo/valid.jsonl");
const PROMPTS: &str = include_str!("../../assets/demo/prompts.jsonl");

/// Longest answer that is shown, in tokens.
const ANSWER_TOKENS: usize = 120;

/// Arguments of `agoge demo`.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// auto, gpu, cpu, a number of `agoge devices`, or a part of an adapter's name
    #[arg(long, default_value_t)]
    device: DeviceChoice,
    /// Optimizer steps
    #[arg(long, default_value_t = 200)]
    steps: u64,
    /// Seed of the mask and the data order
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Keep the run (adapter, metrics, checkpoints) in this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Write the embedded model and data to this folder, for `agoge train`, and leave
    #[arg(long, value_name = "FOLDER")]
    export: Option<PathBuf>,
    #[command(flatten)]
    verbosity: Verbosity,
}

#[derive(Deserialize)]
struct Example {
    prompt: String,
    completion: String,
}

/// The embedded model on a device.
pub(super) fn embedded_model(device: &ComputeDevice) -> Result<Pretrained> {
    Pretrained::from_bytes(MODEL, CONFIG, WEIGHTS.to_vec(), device)
}

impl Demo {
    pub(super) async fn run(self) -> Result<ExitCode> {
        if let Some(folder) = &self.export {
            return export(folder);
        }
        let prompts = examples(PROMPTS)?;
        let config = RunConfig {
            steps: self.steps,
            seed: self.seed,
            out: self.out.clone().unwrap_or_default(),
            device: self.device.clone(),
            target_modules: crate::config::List(vec!["all-linear".into()]),
            batch_size: 16,
            learning_rate: 1e-2,
            warmup_steps: 10,
            eval_steps: 100,
            save_steps: 0,
            logging_steps: 5,
            sample_prompts: Prompts(prompts.iter().map(|example| example.prompt.clone()).collect()),
            sample_tokens: ANSWER_TOKENS,
            ..RunConfig::default()
        };
        if let Some(out) = &self.out {
            prepare_out(out, false)?;
        }
        let stop = signals::stop_flag();
        let device = device::open(&self.device).await?;
        let base = embedded_model(&device)?;
        let tokenizer = tokenizer(&base)?;
        let settings = data_settings(&config, base.transformer.architecture.max_positions)?;
        let source = |name: &str, text: &'static str| Source::from_bytes(name, text.as_bytes());
        let dataset = Dataset::from_sources(
            source("demo train", TRAIN)?,
            Some(source("demo valid", VALID)?),
            &settings,
            &tokenizer,
        )?;
        let mut run = Run::new(config, Inputs { base, tokenizer, dataset, device }, false)?;
        let mut terminal = Terminal::new(self.verbosity);
        (terminal.show_data, terminal.show_samples) = (false, false);
        let mut story = Story::default();
        let ending = terminal.follow(&mut run, &stop, |event| story.hear(event)).await?;
        if !self.verbosity.quiet && !self.verbosity.json {
            story.tell(&prompts, ending);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn examples(text: &str) -> Result<Vec<Example>> {
    text.lines()
        .map(|line| serde_json::from_str(line).map_err(|e| Error::Run(format!("embedded prompts: {e}"))))
        .collect()
}

fn tokenizer(base: &Pretrained) -> Result<Tokenizer> {
    let eos = base.config["eos_token_id"].as_u64().map(|id| id as u32);
    Tokenizer::from_parts(TOKENIZER.as_bytes(), Some(TOKENIZER_CONFIG.as_bytes()), None, eos.as_slice())
}

/// What happened, for the summary.
#[derive(Default)]
struct Story {
    /// First and last answer to each prompt.
    answers: BTreeMap<String, (String, String)>,
    losses: Vec<f64>,
    valid: Vec<f64>,
    trained: (usize, usize),
    elapsed_secs: f64,
    tokens_per_sec: f64,
}

impl Story {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::Started(started) => self.trained = (started.trained_parameters, started.total_parameters),
            Event::Step(metrics) => {
                self.losses.extend(metrics.loss);
                self.tokens_per_sec = metrics.tokens_per_sec;
            }
            Event::Evaluated { metrics, .. } => self.valid.extend(metrics.eval_loss),
            Event::Sample { prompt, text, .. } => {
                let answer = self.answers.entry(prompt.clone()).or_insert_with(|| (text.clone(), String::new()));
                answer.1.clone_from(text);
            }
            Event::Finished { elapsed_secs, .. } => self.elapsed_secs = *elapsed_secs,
            _ => {}
        }
    }

    fn tell(&self, prompts: &[Example], ending: Ending) {
        println!();
        for example in prompts {
            let Some((before, after)) = self.answers.get(&example.prompt) else { continue };
            let question = example.prompt.lines().next().unwrap_or_default();
            println!("  {question}");
            println!("{}", wrapped("    before  ", before.trim()));
            println!("{}", wrapped("    after   ", after.trim()));
            println!();
        }
        let (first, last) = (self.losses.first().unwrap_or(&f64::NAN), self.losses.last().unwrap_or(&f64::NAN));
        println!("  loss        {first:.3} {} {last:.3}", sparkline(&self.losses, 40));
        if let (Some(first), Some(last)) = (self.valid.first(), self.valid.last()) {
            println!("  validation  {first:.3} -> {last:.3}, on questions it has never seen");
        }
        println!(
            "  trained     {} of {} numbers ({}), in {} at {} tokens/s",
            count(self.trained.0),
            count(self.trained.1),
            percent(self.trained.0 as f64 / self.trained.1.max(1) as f64),
            seconds(self.elapsed_secs),
            count(self.tokens_per_sec as usize)
        );
        if ending == Ending::Completed {
            println!("\n  Your own model and data: agoge train --model FOLDER --data FILE --out runs/first");
        }
    }
}

/// `text` behind `label`, broken into lines of about 100 characters under each other.
fn wrapped(label: &str, text: &str) -> String {
    let indent = " ".repeat(label.chars().count());
    let mut lines = vec![label.to_owned()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("one line is there");
        if line.chars().count() + word.chars().count() > 100 {
            lines.push(format!("{indent}{word}"));
        } else {
            if line.chars().count() > indent.len() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

fn export(folder: &Path) -> Result<ExitCode> {
    let model = folder.join("model");
    let data = folder.join("data");
    for folder in [&model, &data] {
        std::fs::create_dir_all(folder).map_err(|e| Error::file("create", folder, e))?;
    }
    files::write(&model.join("config.json"), CONFIG.as_bytes())?;
    files::write(&model.join("model.safetensors"), WEIGHTS)?;
    files::write(&model.join("tokenizer.json"), TOKENIZER.as_bytes())?;
    files::write(&model.join("tokenizer_config.json"), TOKENIZER_CONFIG.as_bytes())?;
    files::write(&data.join("train.jsonl"), TRAIN.as_bytes())?;
    files::write(&data.join("valid.jsonl"), VALID.as_bytes())?;
    let example = &examples(PROMPTS)?[0];
    println!("model in {}, data in {}", model.display(), data.display());
    println!("try: agoge generate --model {} --prompt {:?}", model.display(), example.prompt);
    println!("(a laconic answer would be:{})", example.completion);
    Ok(ExitCode::SUCCESS)
}
