//! `agoge demo`: the model inside this program, fine-tuned in front of one's eyes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{
    chart::sparkline,
    format::{count, percent, seconds},
    signals,
    terminal::{Terminal, Verbosity},
};
use crate::{
    Error, Result,
    config::{OF_MODEL_AND_DATA, Overrides},
    demo::{self, Example},
    event::{Ending, Event, messages::Setup},
    method,
    session::{OpenDevices, launch},
    source::embedded,
};

/// Settings that the short help shows.
pub(super) const SHOWN: &[&str] = &["device", "steps", "seed", "out"];

/// Arguments of `agoge demo`.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Write the embedded model and data to this folder, for `agoge train`, and leave
    #[arg(long, value_name = "FOLDER")]
    export: Option<PathBuf>,
    #[command(flatten)]
    settings: Overrides,
    #[command(flatten)]
    verbosity: Verbosity,
}

impl Demo {
    pub(super) async fn run(self) -> Result<ExitCode> {
        if let Some(folder) = &self.export {
            return export(folder);
        }
        if let Some(name) = self.settings.given().into_iter().find(|name| OF_MODEL_AND_DATA.contains(name)) {
            return Err(Error::input(format!(
                "--{}: the demo has a model and data of its own; use agoge train for others",
                name.replace('_', "-")
            )));
        }
        let mut config = demo::config();
        let typed = self.settings.given();
        self.settings.apply(&mut config);
        method::settings::check_typed(&[method::find(&config.method)?], &typed)?;
        let setup = Setup { config, demo: true, ..Setup::default() };
        let stop = signals::stop_flag();
        let mut session = launch(&setup, &OpenDevices::default(), self.verbosity.report()).await?;
        let mut terminal = Terminal::new(self.verbosity);
        (terminal.show_data, terminal.show_samples) = (false, false);
        let mut summary = Summary::default();
        let ending = terminal.follow(&mut session, &stop, |event| summary.add(event)).await?;
        if !self.verbosity.quiet && !self.verbosity.json {
            summary.print(&demo::examples(), ending);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What happened.
#[derive(Default)]
struct Summary {
    /// First and last answer to each prompt.
    answers: BTreeMap<String, (String, String)>,
    losses: Vec<f64>,
    valid: Vec<f64>,
    trained: (usize, usize),
    elapsed_secs: f64,
    tokens_per_sec: f64,
}

impl Summary {
    fn add(&mut self, event: &Event) {
        match event {
            Event::Started(started) => self.trained = (started.trained_parameters, started.total_parameters),
            Event::Step(metrics) => self.losses.extend(metrics.loss),
            Event::Evaluated { metrics, .. } => self.valid.extend(metrics.eval_loss),
            Event::Sample { prompt, text, .. } => {
                let answer = self.answers.entry(prompt.clone()).or_insert_with(|| (text.clone(), String::new()));
                answer.1.clone_from(text);
            }
            Event::Finished { elapsed_secs, tokens, .. } => {
                self.elapsed_secs = *elapsed_secs;
                self.tokens_per_sec = *tokens as f64 / elapsed_secs.max(1e-9);
            }
            _ => {}
        }
    }

    fn print(&self, prompts: &[Example], ending: Ending) {
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
            "  trained     {} of {} parameters ({}), in {} at {} tokens/s",
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
    let (model, data) = (folder.join("model"), folder.join("data"));
    embedded::write(&model, &data)?;
    println!("model in {}, data in {}", model.display(), data.display());
    if let Some(example) = demo::examples().first() {
        println!("try: agoge generate --model {} --prompt {:?}", model.display(), example.prompt);
        println!("(a laconic answer would be:{})", example.completion);
    }
    Ok(ExitCode::SUCCESS)
}
