//! `agoge generate`

use std::{process::ExitCode, sync::atomic::Ordering, time::Instant};

use clap::Args;

use super::{model_args::ModelArgs, output::put, sampling::SamplingArgs, signals};
use crate::{
    Error, Result,
    data::{Message, Tokenizer},
    generate::{TextSettings, TextStream},
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
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Write only the text, no figures
    #[arg(long)]
    quiet: bool,
}

impl Generate {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let sampling = self.sampling.sampling()?;
        let (base, device) = self.model.load().await?;
        if !base.classes().is_empty() {
            return Err(Error::input("this is a classifier, which writes no text; use agoge classify"));
        }
        let tokenizer = Tokenizer::from_folder(&base.folder)?;
        if !self.quiet {
            eprintln!("device   {} ({}): {}", device.facts.name, device.facts.backend, device.reason);
        }
        let prompt = self.prompt_ids(&tokenizer)?;
        let SamplingArgs { max_tokens, seed, .. } = self.sampling;
        let settings = TextSettings { sampling, max_tokens, seed };
        let mut stream = TextStream::new(&base.transformer, &tokenizer, &prompt, settings)?;
        let stop = signals::stop_flag();
        if !self.chat {
            put(&self.prompt)?;
        }
        let started = Instant::now();
        while let Some(text) = stream.next(|| stop.load(Ordering::Relaxed)).await? {
            put(&text)?;
        }
        put("\n")?;
        if !self.quiet {
            let (tokens, secs) = (stream.tokens(), started.elapsed().as_secs_f64());
            eprintln!("{tokens} tokens in {secs:.1} s, {:.0} tokens/s", tokens as f64 / secs.max(1e-9));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn prompt_ids(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        if self.chat {
            let system = self.system.iter().map(|text| Message::new("system", text));
            let messages: Vec<_> = system.chain([Message::new("user", &self.prompt)]).collect();
            return tokenizer.encode_chat(&messages, true);
        }
        tokenizer.encode_prompt(&self.prompt)
    }
}
