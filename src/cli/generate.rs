//! `agoge generate`

use std::{io::Write, process::ExitCode, sync::atomic::Ordering, time::Instant};

use clap::Args;

use super::{ModelArgs, signals};
use crate::{
    Error, Result,
    data::{Message, StreamDecoder, Tokenizer},
    model::{generate::Generation, sample::Sampling},
};

/// Arguments of `agoge generate`.
#[derive(Debug, Args)]
pub(super) struct Generate {
    #[command(flatten)]
    model: ModelArgs,
    /// Text to continue; may be empty where the tokenizer has a start token
    #[arg(long)]
    prompt: String,
    /// Give the prompt as a user's message in the model's chat template
    #[arg(long)]
    chat: bool,
    /// System message before it
    #[arg(long, requires = "chat")]
    system: Option<String>,
    /// Most tokens to generate
    #[arg(long, alias = "max-new-tokens", default_value_t = 256)]
    max_tokens: usize,
    /// 0 takes the most likely token each time
    #[arg(long, allow_negative_numbers = true, alias = "temp", default_value_t = 0.0)]
    temperature: f32,
    /// Draw among the k most likely tokens only; 0 = all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Draw among the most likely tokens that together reach this probability
    #[arg(long, allow_negative_numbers = true, default_value_t = 1.0)]
    top_p: f32,
    /// Above 1: makes tokens that were there already less likely
    #[arg(long, allow_negative_numbers = true, default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Seed of the draw
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write only the text, no figures
    #[arg(long)]
    quiet: bool,
}

impl Generate {
    pub(super) async fn run(self) -> Result<ExitCode> {
        if !(0.0..=1.0).contains(&self.top_p) || self.top_p == 0.0 {
            return Err(Error::input(format!("--top-p {}: it must be above 0 and at most 1", self.top_p)));
        }
        if !self.temperature.is_finite() || self.temperature < 0.0 {
            return Err(Error::input(format!("--temperature {}: it must not be negative", self.temperature)));
        }
        if !self.repetition_penalty.is_finite() || self.repetition_penalty <= 0.0 {
            return Err(Error::input(format!("--repetition-penalty {}: it must be positive", self.repetition_penalty)));
        }
        let (base, device) = self.model.load().await?;
        let tokenizer = Tokenizer::from_folder(&self.model.model)?;
        if !self.quiet {
            eprintln!("device   {} ({}): {}", device.facts.name, device.facts.backend, device.reason);
        }
        let prompt = self.prompt_ids(&tokenizer)?;
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            repetition_penalty: self.repetition_penalty,
        };
        let mut generation = Generation::new(&base.transformer, &prompt, sampling, tokenizer.eos_ids(), self.seed)?;
        let mut decoder = StreamDecoder::new(&tokenizer, &prompt, true);
        let stop = signals::stop_flag();
        let say = |text: &str| {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())
                .and_then(|()| out.flush())
                .map_err(|e| Error::Run(format!("cannot write to standard output: {e}")))
        };
        if !self.chat {
            say(&self.prompt)?;
        }
        let (started, mut made) = (Instant::now(), 0);
        while made < self.max_tokens && !stop.load(Ordering::Relaxed) {
            let Some(id) = generation.next().await? else { break };
            made += 1;
            if let Some(text) = decoder.push(id)? {
                say(&text)?;
            }
        }
        say(&decoder.finish()?.unwrap_or_default())?;
        say("\n")?;
        if !self.quiet {
            let secs = started.elapsed().as_secs_f64();
            eprintln!("{made} tokens in {secs:.1} s, {:.0} tokens/s", made as f64 / secs.max(1e-9));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn prompt_ids(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        if self.chat {
            let system = self.system.iter().map(|text| Message::new("system", text));
            let messages: Vec<_> = system.chain([Message::new("user", &self.prompt)]).collect();
            return tokenizer.encode_chat(&messages, true);
        }
        let mut ids = tokenizer.encode(&self.prompt, true)?;
        if ids.is_empty() {
            ids.extend(tokenizer.bos_id());
        }
        if ids.is_empty() {
            return Err(Error::input(
                "--prompt is empty and this tokenizer has no start token; give at least one word",
            ));
        }
        Ok(ids)
    }
}
