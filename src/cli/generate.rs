//! `agoge generate`

use std::{io::Write, process::ExitCode, sync::atomic::Ordering, time::Instant};

use clap::Args;

use super::{ModelArgs, sampling::SamplingArgs, signals};
use crate::{
    Error, Result,
    data::{Message, StreamDecoder, Tokenizer},
    model::generate::Generation,
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
        let mut generation =
            Generation::new(&base.transformer, &prompt, sampling, tokenizer.eos_ids(), self.sampling.seed)?;
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
        while made < self.sampling.max_tokens && !stop.load(Ordering::Relaxed) {
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
        tokenizer.encode_prompt(&self.prompt)
    }
}
