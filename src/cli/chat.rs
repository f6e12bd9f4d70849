//! `agoge chat`: a conversation in the terminal.
//!
//! Standard output gets the answers and nothing else, so that they can be piped; all other words go to standard error.

mod commands;
mod conversation;
mod lines;
mod style;

use std::{path::Path, process::ExitCode, time::Instant};

use clap::Args;

use self::{
    commands::COMMANDS,
    conversation::Conversation,
    lines::{Line, Lines},
    style::Style,
};
use super::{
    format::count,
    model_args::ModelArgs,
    output::put,
    sampling::SamplingArgs,
    signals::{self, Interrupt},
};
use crate::{
    Error, Result,
    data::Tokenizer,
    generate::{Sampling, TextEnd, TextSettings, TextStream},
    method::switch::SwitchableAdapters,
    model::Pretrained,
};

/// Arguments of `agoge chat`.
#[derive(Debug, Args)]
pub(super) struct Chat {
    #[command(flatten)]
    model: ModelArgs,
    /// System message before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Tell the device, and tokens and speed after each answer
    #[arg(long)]
    verbose: bool,
}

impl Chat {
    pub(super) async fn run(mut self) -> Result<ExitCode> {
        let sampling = self.sampling.sampling()?;
        let mut lines = Lines::open()?;
        // Read before the model is loaded: a wrong path should not cost that.
        let adapters = self.model.adapters()?;
        self.model.follow(&adapters)?;
        self.model.adapter.clear();
        let (mut base, device) = self.model.load().await?;
        if !base.classes().is_empty() || adapters.iter().any(|(adapter, _)| adapter.info.classify.is_some()) {
            return Err(Error::input("a classifier writes no text; use agoge classify"));
        }
        let tokenizer = Tokenizer::from_folder(&base.folder)?;
        let facts = device.facts.clone();
        let reason = device.reason.clone();
        let sides = SwitchableAdapters::apply(adapters, &mut base, device)?;
        let style = Style::of_terminal();
        let introduced = lines.is_terminal() || self.verbose;
        let introduction = [
            Some(format!("device   {} ({}): {reason}", facts.name, facts.backend)),
            Some(format!("model    {}, {} parameters", base.name(), count(base.transformer.parameter_count()))),
            (!sides.is_empty()).then(|| format!("adapter  {}", sides.name())),
            tokenizer.chat_template().is_none().then(|| {
                "note     this model has no chat template: turns are written as ### User: and ### Assistant:".to_owned()
            }),
            Some("/help lists the commands, Ctrl-D leaves\n".to_owned()),
        ];
        let mut session = Chatting {
            base,
            tokenizer,
            sides,
            sampling,
            max_tokens: self.sampling.max_tokens,
            seed: self.sampling.seed,
            verbose: self.verbose,
            style,
            spaced: lines.is_terminal(),
            interrupt: signals::interrupt(),
            talk: Conversation::new(self.system.filter(|text| !text.is_empty())),
        };
        introduction.iter().flatten().filter(|_| introduced).for_each(|line| session.note(line));
        loop {
            match lines.next(&session.prompt(), style)? {
                Line::End => break,
                Line::Interrupted => session.note("Ctrl-D leaves"),
                Line::Text(text) if text.trim().is_empty() => {}
                Line::Text(text) if text.trim() == "/exit" => break,
                Line::Text(text) => session.execute(&text).await?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A model that is being talked to.
struct Chatting {
    base: Pretrained,
    tokenizer: Tokenizer,
    sides: SwitchableAdapters,
    sampling: Sampling,
    max_tokens: usize,
    /// Of the next draw.
    seed: u64,
    verbose: bool,
    style: Style,
    /// Whether an empty line follows an answer.
    spaced: bool,
    interrupt: Interrupt,
    talk: Conversation,
}

impl Chatting {
    /// What stands before the user's words: which side of the model will answer.
    fn prompt(&self) -> String {
        match self.sides.is_empty() {
            true => "> ".into(),
            false if self.sides.on() => format!("{} > ", self.sides.name()),
            false => "base > ".into(),
        }
    }

    /// Notes which side of the model answers from now on.
    fn note_side(&self) {
        match self.sides.on() {
            true => self.note(&format!("adapter on: {} answers", self.sides.name())),
            false => self.note("adapter off: the base model answers"),
        }
    }

    /// A line beside the conversation.
    fn note(&self, text: &str) {
        eprintln!("{}", self.style.dim(text));
    }

    /// Does what a line asks for. Bad input is reported and costs only that line.
    async fn execute(&mut self, line: &str) -> Result<()> {
        let line = line.trim();
        let done = match line.strip_prefix('/') {
            None => self.ask(line).await,
            // A message that begins with a slash.
            Some(text) if text.starts_with('/') => self.ask(text).await,
            Some(command) => {
                let (name, text) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
                self.command(name, text.trim()).await
            }
        };
        match done {
            Err(Error::Input(message)) => {
                eprintln!("error: {message}");
                Ok(())
            }
            other => other,
        }
    }

    async fn command(&mut self, command: &str, text: &str) -> Result<()> {
        if !matches!(command, "system" | "adapter") && !text.is_empty() {
            return Err(Error::input(format!(
                "/{command} takes no text; // begins a message that starts with a slash"
            )));
        }
        match command {
            "base" if self.sides.is_empty() => {
                return Err(Error::input(
                    "/base: there is no adapter to switch off; give one with --adapter or /adapter",
                ));
            }
            "base" => {
                self.sides.toggle(&mut self.base)?;
                self.note_side();
            }
            "adapter" if text.is_empty() => {
                return Err(Error::input("/adapter wants the folder of a run or of another program's adapter"));
            }
            "adapter" => {
                self.sides.switch(Path::new(text), &mut self.base)?;
                self.note_side();
            }
            "again" => match self.talk.undo() {
                None => return Err(Error::input("/again: nothing has been said yet")),
                Some(text) => return self.ask(&text).await,
            },
            "undo" => match self.talk.undo() {
                None => return Err(Error::input("/undo: nothing has been said yet")),
                Some(text) => self.note(&format!("forgotten: {text}")),
            },
            "reset" => {
                self.talk.reset();
                self.note("the conversation is forgotten");
            }
            "system" => {
                self.talk.system = (!text.is_empty()).then(|| text.to_owned());
                self.note(if text.is_empty() { "no system message" } else { "the system message is set" });
            }
            "help" => {
                for (name, follows, what) in COMMANDS {
                    self.note(&format!("  /{:<13} {what}", format!("{name} {follows}")));
                }
            }
            other => {
                return Err(Error::input(format!(
                    "there is no command /{other}; /help lists those there are, and // begins a message that starts with \
                     a slash"
                )));
            }
        }
        Ok(())
    }

    /// Adds a message and says the answer. A message that cannot be answered is not kept.
    async fn ask(&mut self, text: &str) -> Result<()> {
        self.talk.ask(text);
        let positions = self.base.transformer.architecture.max_positions;
        // Half of the positions at most: a large --max-tokens must not push the conversation out.
        let room = self.max_tokens.min(positions / 2).max(1);
        let generated = match self.talk.prompt(&self.tokenizer, positions, room) {
            Ok((prompt, forgotten)) => {
                if forgotten > 0 {
                    let what = if forgotten == 1 { "message is" } else { "messages are" };
                    self.note(&format!(
                        "the {positions} positions of the model are full: the oldest {what} forgotten ({forgotten})"
                    ));
                }
                self.generate(&prompt).await
            }
            Err(error) => Err(error),
        };
        match generated {
            Ok(answer) => {
                self.talk.answer(&answer);
                Ok(())
            }
            Err(error) => {
                self.talk.undo();
                Err(error)
            }
        }
    }

    /// Generates the answer to `prompt` `[T]`, writes it as it comes, and gives it.
    async fn generate(&mut self, prompt: &[u32]) -> Result<String> {
        let settings = TextSettings { sampling: self.sampling.clone(), max_tokens: self.max_tokens, seed: self.seed };
        let mut stream = TextStream::new(&self.base.transformer, &self.tokenizer, prompt, settings)?;
        // Another draw next time: /again would otherwise say the same.
        self.seed = self.seed.wrapping_add(1);
        let mut answer = String::new();
        let started = Instant::now();
        self.interrupt.begin();
        while let Some(text) = stream.next(|| self.interrupt.asked()).await? {
            write_answer(&mut answer, &text)?;
        }
        let stopped = self.interrupt.end();
        let (tokens, secs) = (stream.tokens(), started.elapsed().as_secs_f64());
        put("\n")?;
        match stream.end() {
            _ if stopped => self.note("stopped"),
            Some(TextEnd::Positions) => {
                let positions = self.base.transformer.architecture.max_positions;
                self.note(&format!("cut off: the model has only {positions} positions; /reset makes room"));
            }
            Some(TextEnd::MaxTokens) => {
                self.note(&format!("cut off after {tokens} tokens; --max-tokens allows more"));
            }
            _ => {}
        }
        if self.verbose {
            self.note(&format!("{tokens} tokens in {secs:.1} s, {:.0} tokens/s", tokens as f64 / secs.max(1e-9)));
        }
        if self.spaced {
            put("\n")?;
        }
        Ok(answer)
    }
}

/// Adds `text` to the answer and shows it, without the space that many models begin with.
fn write_answer(answer: &mut String, text: &str) -> Result<()> {
    let begun = !answer.trim_start().is_empty();
    answer.push_str(text);
    put(if begun { text } else { text.trim_start() })
}
