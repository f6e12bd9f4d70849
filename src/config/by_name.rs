//! Settings by their names: changed from text, listed for a form, written as the flags of a command.

use super::{RunConfig, SettingInfo};
use crate::{Error, Result};

/// Every setting, in the order of the list.
pub fn settings() -> Vec<SettingInfo> {
    RunConfig::listed()
}

impl RunConfig {
    /// These settings with one of them changed from text, as its flag takes it; `name` may be written with `_` or `-`.
    /// No text at all is an empty list.
    ///
    /// # Errors
    /// No setting of this name, or a text that is not a value of it.
    pub fn with(&self, name: &str, text: &str) -> Result<Self> {
        let name = name.trim().replace('-', "_");
        let mut changed = self.clone();
        match changed.set(&name, text) {
            None => Err(Error::input(format!("there is no setting {name}"))),
            Some(Err(why)) => Err(Error::input(format!("{text} is not a value of {name} ({why})"))),
            Some(Ok(())) => Ok(changed),
        }
    }

    /// The settings that differ from those of `base`, as flags for a POSIX shell, each behind a space. Where `base` has a
    /// path no flag can take it away, and items of lists that are empty or begin or end with a space cannot be written.
    pub fn flags(&self, base: &Self) -> String {
        let flag = |(name, value): (&str, String)| {
            let name = name.replace('_', "-");
            // What begins with a dash would be read as the next flag.
            let between = if value.starts_with('-') { '=' } else { ' ' };
            format!(" --{name}{between}{}", quoted(&value))
        };
        self.differing(base).into_iter().map(flag).collect()
    }
}

/// A word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Schedule;

    #[test]
    fn settings_are_changed_by_name() {
        let config = RunConfig::default();
        assert_eq!(config.with("learning-rate", "1e-3").expect("a setting").learning_rate, 1e-3);
        let changed = config.with("target_modules", "query, value").expect("a setting");
        assert_eq!(changed.target_modules.0, ["query", "value"]);
        assert!(changed.with("target_modules", "").expect("a setting").target_modules.0.is_empty());
        let prompts = config.with("sample_prompts", "a|b").expect("a setting");
        assert_eq!(prompts.sample_prompts.0, ["a", "b"]);
        assert!(prompts.with("sample_prompts", "").expect("a setting").sample_prompts.0.is_empty());
        assert_eq!(config.with("mask", "gradient").expect("a setting").mask, "gradient");
        assert_eq!(config.with("schedule", "linear").expect("a setting").schedule, Schedule::Linear);
        for (name, text, words) in
            [("stepz", "3", "no setting stepz"), ("steps", "many", "many"), ("schedule", "x", "linear, cosine")]
        {
            let error = config.with(name, text).expect_err(name).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn every_setting_is_listed_and_takes_its_own_default() {
        let defaults = RunConfig::default();
        let all = settings();
        let names: Vec<&str> = all.iter().map(|setting| setting.name.as_str()).collect();
        let kept = json!(defaults);
        assert!(names.iter().copied().eq(kept.as_object().expect("an object").keys()), "{names:?}");
        let schedule = all.iter().find(|setting| setting.name == "schedule").expect("a setting");
        assert_eq!((&schedule.heading[..], &schedule.default), ("Training", &json!("cosine")));
        assert_eq!(schedule.values, ["constant", "linear", "cosine"]);
        for setting in &all {
            assert!(!setting.help.is_empty(), "{}", setting.name);
            let text = match &setting.default {
                Value::String(text) => text.clone(),
                Value::Array(_) => String::new(),
                other => other.to_string(),
            };
            assert_eq!(defaults.with(&setting.name, &text).expect("a value"), defaults, "{}", setting.name);
        }
    }

    #[cfg(feature = "cli")]
    #[test]
    fn a_form_says_what_the_help_says() {
        use clap::Args;

        let command = crate::config::Overrides::augment_args(clap::Command::new("agoge"));
        let all = settings();
        assert_eq!(command.get_arguments().count(), all.len());
        for (arg, setting) in command.get_arguments().zip(&all) {
            assert_eq!(arg.get_id().as_str(), setting.name);
            assert_eq!(arg.get_help().map(ToString::to_string).as_deref(), Some(&setting.help[..]));
            assert_eq!(arg.get_help_heading().unwrap_or_default(), setting.heading, "{}", setting.name);
            let words: Vec<String> = arg.get_possible_values().iter().map(|word| word.get_name().to_owned()).collect();
            assert_eq!(words, setting.values, "{}", setting.name);
        }
    }

    /// The words that a shell makes of a line.
    #[cfg(all(unix, feature = "cli"))]
    fn words(line: &str) -> Vec<String> {
        let script = format!(r"printf '%s\0' {line}");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    #[cfg(all(unix, feature = "cli"))]
    #[test]
    fn flags_are_read_back_as_the_same_settings() {
        use clap::{Args, FromArgMatches};

        use crate::config::{List, Overrides, Prompts};

        let config = RunConfig {
            model: "models/it's a llama".into(),
            data: "-data".into(),
            out: "runs/ü $HOME `x`".into(),
            template: "Review: {text}\n\"Sentiment\":".into(),
            classes: List(vec!["a,b".into(), r"c\d".into(), "*".into()]),
            trainable_tokens: List(vec![1, 2]),
            sample_prompts: Prompts(vec!["How?\nSo | so".into(), String::new()]),
            learning_rate: 1.0 / 3.0,
            epsilon: 1e-12,
            schedule: Schedule::Constant,
            lora_rs: true,
            steps: u64::MAX,
            device: crate::device::DeviceChoice::Name("Radeon 7".into()),
            ..RunConfig::default()
        };
        let emptied = RunConfig { sample_prompts: Prompts::default(), classes: List::default(), ..config.clone() };
        let default = RunConfig::default();
        let (model, data, out) = (config.model.clone(), config.data.clone(), config.out.clone());
        let plain = RunConfig { model, data, out, ..RunConfig::default() };
        for (config, base) in [(&config, &default), (&default, &default), (&emptied, &config), (&plain, &config)] {
            let line = format!("agoge{}", config.flags(base));
            let matches = Overrides::augment_args(clap::Command::new("agoge")).try_get_matches_from(words(&line));
            let typed = Overrides::from_arg_matches(&matches.expect(&line)).expect(&line);
            let mut again = base.clone();
            typed.apply(&mut again);
            assert_eq!(again, *config, "{line}");
            let by_name = settings().iter().try_fold(base.clone(), |changed, setting| {
                changed.with(&setting.name, &config.text(&setting.name).expect("a setting"))
            });
            assert_eq!(by_name.expect("settings"), *config);
        }
    }
}
