//! The settings with which the program shows itself: the model inside it learns to answer like a Spartan.

use serde::Deserialize;

use crate::{
    config::{List, Prompts, RunConfig},
    source::embedded::NAME,
};

const PROMPTS: &str = include_str!("../assets/demo/prompts.jsonl");

/// Longest answer that is shown, in tokens.
const ANSWER_TOKENS: usize = 120;

/// A question that no row has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Example {
    /// What is asked.
    pub prompt: String,
    /// What an answer in the taught manner would be.
    pub completion: String,
}

/// The questions that are asked before, during and after training.
pub fn examples() -> Vec<Example> {
    PROMPTS.lines().map(|line| serde_json::from_str(line).expect("a line of the embedded prompts is JSON")).collect()
}

/// Settings with which the model inside this program learns to answer like a Spartan in a minute.
pub fn config() -> RunConfig {
    RunConfig {
        model: NAME.into(),
        data: NAME.into(),
        target_modules: List(vec!["all-linear".into()]),
        steps: 200,
        batch_size: 16,
        learning_rate: 1e-2,
        warmup_steps: 10,
        eval_steps: 100,
        save_steps: 0,
        logging_steps: 5,
        sample_prompts: Prompts(examples().into_iter().map(|example| example.prompt).collect()),
        sample_tokens: ANSWER_TOKENS,
        ..RunConfig::default()
    }
}

/// `config` on the model and the data inside this program.
pub fn on_demo(config: &RunConfig) -> RunConfig {
    let (revision, valid_data) = Default::default();
    RunConfig { model: NAME.into(), revision, data: NAME.into(), valid_data, ..config.clone() }
}

impl RunConfig {
    /// The command that starts the same run, for a POSIX shell: `agoge train`, or with `demo` (model and data are then
    /// those inside this program) `agoge demo`, and whatever differs from its defaults.
    pub fn command_line(&self, demo: bool) -> String {
        if !demo {
            return format!("agoge train{}", self.flags(&Self::default()));
        }
        format!("agoge demo{}", on_demo(self).flags(&config()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_in_bounds_and_ask_the_examples() {
        let config = config();
        config.check().expect("in bounds");
        assert_eq!(config.sample_prompts.0.len(), examples().len());
    }

    #[test]
    fn commands_name_what_differs() {
        let plain = RunConfig { model: "m".into(), data: "d e".into(), steps: 7, ..RunConfig::default() };
        assert_eq!(plain.command_line(false), "agoge train --model m --data 'd e' --steps 7");
        let demo = RunConfig { model: "ignored".into(), steps: 7, out: "runs/1".into(), ..config() };
        assert_eq!(demo.command_line(true), "agoge demo --out runs/1 --steps 7");
        assert_eq!(config().command_line(true), "agoge demo");
    }
}
