//! `agoge compare`: several methods in turn on the same model, data and seeds, in one table and one picture.

mod outcome;
mod plot;
mod table;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use clap::Args;
use serde_json::json;

use self::outcome::Outcome;
use super::{
    settings, signals,
    terminal::{Terminal, Verbosity},
};
use crate::{
    Error, Result,
    config::{List, Overrides, RunConfig},
    event::{Ending, Event, messages::Setup},
    files,
    method::{self, Budget, METHODS},
    session::{Checked, OpenDevices},
    source::{describe, pin, silent},
    train::{estimate::outline, evaluate::evaluate},
};

/// Arguments of `agoge compare`.
#[derive(Debug, Args)]
pub(super) struct Compare {
    /// Methods to compare, comma-separated
    #[arg(long, value_name = "NAMES", default_value = "sparta,lora,full,head")]
    methods: List<String>,
    /// Give sparta as many trainable parameters as lora has
    #[arg(long)]
    match_trainable: bool,
    /// Seeds to repeat every method with, comma-separated
    #[arg(long, value_name = "SEEDS", default_value = "0")]
    seeds: List<u64>,
    /// A setting of one method only, such as lora.learning_rate=1e-3 or sparta.target_modules=all-linear
    #[arg(long, value_name = "METHOD.SETTING=VALUE")]
    set: Vec<String>,
    /// Settings from a TOML file; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace the runs that are in the --out folder already, instead of taking over those that are complete
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    settings: Overrides,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// One run of the comparison.
struct Planned {
    method: String,
    config: RunConfig,
}

impl Compare {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let typed = self.settings.given();
        let mut base = settings::read(self.config.as_deref(), self.settings.clone(), &["model", "data", "out"])?;
        if self.methods.0.is_empty() || self.seeds.0.is_empty() {
            return Err(Error::input("--methods and --seeds want at least one name and one number"));
        }
        let entries = self.methods.0.iter().map(|name| method::find(name)).collect::<Result<Vec<_>>>()?;
        method::settings::check_typed(&entries, &typed)?;
        let quiet = self.verbosity.quiet || self.verbosity.json;
        pin(&mut base, self.verbosity.report())?;
        let mut planned = self.plan(&base)?;
        if self.match_trainable {
            match_trainable(&mut planned)?;
        }
        let (stop, devices) = (signals::stop_flag(), OpenDevices::default());
        let mut outcomes = Vec::new();
        let runs = planned.len();
        for (number, plan) in planned.into_iter().enumerate() {
            if !quiet {
                eprintln!("\n── {} of {runs}: {}, seed {}", number + 1, plan.method, plan.config.seed);
            }
            match self.one(plan, &devices, &stop).await? {
                Some(outcome) => outcomes.push(outcome),
                None => {
                    eprintln!(
                        "stopped: the runs that are complete stay in {}; call again to continue",
                        base.out.display()
                    );
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        let summary = table::summarise(&outcomes);
        files::write_json(&base.out.join("compare.json"), &json!({ "runs": outcomes, "methods": summary }))?;
        let picture = plot::svg(&base.out, &outcomes)?;
        files::write(&base.out.join("compare.svg"), picture.as_bytes())?;
        if self.verbosity.json {
            println!("{}", json!(summary));
        } else {
            println!("\n{}", table::markdown(&summary));
            println!("\nfigures in {0}/compare.json, curves in {0}/compare.svg", base.out.display());
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Every run, checked before the first one starts.
    fn plan(&self, base: &RunConfig) -> Result<Vec<Planned>> {
        let mut planned = Vec::new();
        for setting in &self.set {
            let (method, _) = setting.split_once('.').ok_or_else(|| malformed(setting))?;
            if !self.methods.0.iter().any(|name| name == method) {
                return Err(Error::input(format!("--set {setting}: {method} is not among the --methods")));
            }
        }
        for method in &self.methods.0 {
            let entry = method::find(method)?;
            let mut config = RunConfig { method: method.clone(), ..base.clone() };
            if entry.budget.is_none() {
                // Targets choose where to adapt; training everything, or only the head, has no such choice.
                (config.target_modules, config.frozen_modules) = (List(Vec::new()), List(Vec::new()));
            }
            for setting in self.set.iter().filter(|setting| setting.starts_with(&format!("{method}."))) {
                config = with_setting(&config, &setting[method.len() + 1..])
                    .map_err(|e| Error::input(format!("--set {setting}: {e}")))?;
            }
            for &seed in &self.seeds.0 {
                let out = base.out.join(format!("{method}-{seed}"));
                let config = RunConfig { seed, out, ..config.clone() };
                config.check()?;
                planned.push(Planned { method: method.clone(), config });
            }
        }
        Ok(planned)
    }

    /// Trains once and evaluates the result; `None` if it was stopped. A complete run of the same settings is taken over.
    async fn one(&self, plan: Planned, devices: &OpenDevices, stop: &AtomicBool) -> Result<Option<Outcome>> {
        let Planned { method, config } = plan;
        if !self.overwrite
            && let Some(known) = Outcome::read(&config)
        {
            if !self.verbosity.quiet && !self.verbosity.json {
                eprintln!("complete already: {}", config.out.display());
            }
            return Ok(Some(known));
        }
        // An unfinished run of an earlier comparison is done again.
        let overwrite = self.overwrite || Outcome::unfinished(&config.out);
        let setup = Setup { config, overwrite, ..Setup::default() };
        let loaded = Checked::new(&setup)?.pin(&silent)?.load(devices, true, &silent).await?;
        let prepared = loaded.prepare()?;
        Outcome::begin(prepared.config())?;
        let mut session = prepared.start(&silent).await?;
        let (mut losses, mut peak_memory_bytes) = (Vec::new(), 0);
        let verbosity = Verbosity { json: false, quiet: self.verbosity.quiet || self.verbosity.json };
        let mut terminal = Terminal::new(verbosity);
        terminal.show_data = false;
        let ending = terminal
            .follow(&mut session, stop, |event| {
                if let Event::Step(metrics) = event {
                    losses.extend(metrics.loss);
                    peak_memory_bytes = peak_memory_bytes.max(metrics.memory_reserved_bytes);
                }
            })
            .await?;
        if ending == Ending::Stopped || stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (config, run) = (setup.config, session.run());
        let inputs = run.inputs();
        let evaluated = async |split: &Option<_>| match split {
            Some(split) => evaluate(&inputs.base, split, config.batch_size, 0, &inputs.device).await.map(Some),
            None => Ok(None),
        };
        let (valid, test) = (evaluated(&inputs.dataset.valid).await?, evaluated(&inputs.dataset.test).await?);
        let outcome = Outcome::new(&config, method, run, &losses, peak_memory_bytes, valid, test);
        outcome.write(&config)?;
        Ok(Some(outcome))
    }
}

fn malformed(setting: &str) -> Error {
    Error::input(format!("--set {setting}: write METHOD.SETTING=VALUE, such as lora.learning_rate=1e-3"))
}

/// `config` with one setting changed by `NAME=VALUE`.
fn with_setting(config: &RunConfig, setting: &str) -> Result<RunConfig> {
    let (name, value) = setting.split_once('=').ok_or_else(|| malformed(setting))?;
    config.with(name, value)
}

/// Gives methods that can train any number of parameters as many in the body of the model as the first of the others trains.
fn match_trainable(planned: &mut [Planned]) -> Result<()> {
    let budget = |plan: &Planned| method::find(&plan.method).ok().and_then(|entry| entry.budget);
    let exact = |plan: &&mut Planned| matches!(budget(plan), Some(Budget::Exact { .. }));
    let reference = planned.iter().find(|plan| matches!(budget(plan), Some(Budget::Steps { .. })));
    let (Some(reference), true) =
        (reference, planned.iter().any(|plan| matches!(budget(plan), Some(Budget::Exact { .. }))))
    else {
        let names = |wanted: fn(Budget) -> bool| {
            let all = METHODS.iter().filter(|entry| entry.budget.is_some_and(wanted)).map(|entry| entry.name);
            all.collect::<Vec<_>>().join(" or ")
        };
        return Err(Error::input(format!(
            "--match-trainable needs {} and {} among the --methods",
            names(|budget| matches!(budget, Budget::Exact { .. })),
            names(|budget| matches!(budget, Budget::Steps { .. }))
        )));
    };
    let config = reference.config.clone();
    let (_, architecture) = describe(&config, &silent)?;
    // The head is trained beside any method and does not count, so its classes need not be known.
    let outline = outline(&config, &architecture, 0);
    let head = outline.head.classifier_names();
    let trained = method::trained(method::find(&config.method)?, &config.method_config(), Vec::new(), &outline)?;
    let wanted: usize = trained.iter().filter(|tensor| !head.contains(&tensor.name)).map(|tensor| tensor.trained).sum();
    for plan in planned.iter_mut().filter(exact) {
        if let Some(Budget::Exact { counted, .. }) = budget(plan) {
            plan.config = plan.config.with(counted, &wanted.to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_changed_by_name() {
        let config = RunConfig::default();
        assert_eq!(with_setting(&config, "learning-rate=1e-3").expect("a setting").learning_rate, 1e-3);
        for (setting, words) in [("stepz=3", "no setting stepz"), ("steps=many", "many"), ("steps", "METHOD.SETTING")] {
            let error = with_setting(&config, setting).expect_err(setting).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
