//! What a person has typed on the start page, and what the desk says to it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use web_time::Instant;

use crate::{
    Result,
    config::{self, OF_MODEL_AND_DATA, RunConfig, SettingInfo},
    event::messages::{DeviceLine, Estimate, Fault, Request, Setup},
    storage,
    window::{app::Options, remember::Remembered},
};

/// Time without typing after which a form is checked.
const QUIET: Duration = Duration::from_millis(250);

/// The start page's state.
pub struct Form {
    /// Whether model and data are those inside this program.
    pub demo: bool,
    /// Whether a run in the out folder may be replaced.
    pub overwrite: bool,
    /// Whether LoRA and SpaRTA are trained one after the other, to be compared.
    pub pair: bool,
    /// Every setting there is.
    pub settings: Vec<SettingInfo>,
    /// What was typed, by setting; what is not here is at its default.
    typed: BTreeMap<String, String>,
    runs_folder: PathBuf,
    plain_base: RunConfig,
    demo_base: RunConfig,
    /// Devices to choose from.
    pub devices: Vec<DeviceLine>,
    /// What is wrong with the form as it was last checked.
    pub faults: Vec<Fault>,
    /// What model and data are.
    pub facts: Vec<String>,
    /// Memory that the run will take.
    pub estimate: Option<Estimate>,
    /// The check that was asked for last, and the one that was answered last.
    asked: u64,
    answered: u64,
    /// When something was typed that has not been sent to be checked.
    changed: Option<Instant>,
}

impl Form {
    /// A form with what was typed the last time.
    pub fn new(options: &Options, remembered: &Remembered) -> Self {
        Self {
            demo: remembered.demo,
            overwrite: false,
            pair: false,
            settings: config::settings(),
            typed: remembered.form.iter().cloned().collect(),
            runs_folder: options.runs_folder.clone(),
            plain_base: RunConfig::default(),
            demo_base: options.demo.clone(),
            devices: Vec::new(),
            faults: Vec::new(),
            facts: Vec::new(),
            estimate: None,
            asked: 0,
            answered: 0,
            changed: Some(Instant::now().checked_sub(QUIET).unwrap_or_else(Instant::now)),
        }
    }

    /// The settings before anything was typed.
    fn base(&self) -> &RunConfig {
        if self.demo { &self.demo_base } else { &self.plain_base }
    }

    fn default_text(&self, name: &str) -> String {
        self.base().text(name).unwrap_or_default()
    }

    /// What stands in the field of a setting.
    pub fn text(&self, name: &str) -> String {
        self.typed.get(name).cloned().unwrap_or_else(|| self.default_text(name))
    }

    /// Whether the setting was changed.
    pub fn is_typed(&self, name: &str) -> bool {
        self.typed.contains_key(name)
    }

    /// Puts text into the field of a setting; the default is the same as nothing.
    pub fn set(&mut self, name: &str, text: String) {
        if text == self.default_text(name) {
            self.typed.remove(name);
        } else {
            self.typed.insert(name.to_owned(), text);
        }
        if name == "out" {
            self.overwrite = false;
        }
        self.touch();
    }

    /// Puts a setting back to its default.
    pub fn reset(&mut self, name: &str) {
        self.typed.remove(name);
        self.touch();
    }

    /// Everything back to the defaults.
    pub fn reset_all(&mut self) {
        self.typed.clear();
        self.overwrite = false;
        self.touch();
    }

    /// The form has to be checked again.
    pub fn touch(&mut self) {
        self.changed = Some(Instant::now());
    }

    /// What was typed.
    pub fn texts(&self) -> Vec<(String, String)> {
        self.typed.iter().map(|(name, text)| (name.clone(), text.clone())).collect()
    }

    /// The settings as they were typed, and what cannot be read as a setting.
    pub fn config(&self) -> (RunConfig, Vec<Fault>) {
        let (mut config, mut faults) = (self.base().clone(), Vec::new());
        for (name, text) in &self.typed {
            if self.demo && OF_MODEL_AND_DATA.contains(&name.as_str()) {
                continue;
            }
            match config.with(name, text.trim()) {
                Ok(changed) => config = changed,
                Err(error) => faults.push(Fault { setting: name.clone(), message: error.to_string() }),
            }
        }
        if config.out.as_os_str().is_empty() {
            config.out = self.free_folder(&config);
        }
        (config, faults)
    }

    /// A folder that no run has used yet.
    fn free_folder(&self, config: &RunConfig) -> PathBuf {
        let model = if self.demo {
            "demo".into()
        } else {
            config.model.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned())
        };
        let name = format!("{model}-{}", config.method);
        let candidate = |number: u32| match number {
            1 => self.runs_folder.join(&name),
            _ => self.runs_folder.join(format!("{name}-{number}")),
        };
        (1..10_000).map(candidate).find(|folder| !storage::exists(folder)).unwrap_or_else(|| candidate(1))
    }

    /// The run as it stands in the form.
    pub fn setup(&self) -> (Setup, Vec<Fault>) {
        let (config, faults) = self.config();
        (Setup { config, demo: self.demo, resume: false, overwrite: self.overwrite }, faults)
    }

    /// The run as it stands in the form, but with this method, in a folder of its own.
    pub fn setup_with(&self, method: &str) -> Setup {
        let (mut setup, _) = self.setup();
        setup.config.method = method.into();
        setup.config.out = if self.is_typed("out") {
            PathBuf::from(format!("{}-{method}", setup.config.out.display()))
        } else {
            self.free_folder(&setup.config)
        };
        setup
    }

    /// The command that starts the same run.
    pub fn command_line(&self) -> String {
        let flags = self.config().0.flags(self.base());
        format!("agoge {}{flags}", if self.demo { "demo" } else { "train" })
    }

    /// A check to ask for, once nobody has typed for a moment. Also says when to look again.
    pub fn check(&mut self) -> (Option<Request>, Option<Duration>) {
        let Some(changed) = self.changed else { return (None, None) };
        let quiet = changed.elapsed();
        if quiet < QUIET {
            return (None, Some(QUIET - quiet));
        }
        self.changed = None;
        let (setup, unreadable) = self.setup();
        self.asked += 1;
        if !unreadable.is_empty() {
            // What cannot even be read needs no desk.
            (self.answered, self.faults, self.estimate) = (self.asked, unreadable, None);
            return (None, None);
        }
        (Some(Request::Check { number: self.asked, setup: Box::new(setup) }), None)
    }

    /// Takes in the answer to a check, unless a later one is under way.
    pub fn checked(&mut self, number: u64, faults: Vec<Fault>, facts: Vec<String>, estimate: Option<Estimate>) {
        if number == self.asked {
            (self.answered, self.faults, self.facts, self.estimate) = (number, faults, facts, estimate);
        }
    }

    /// Whether what stands in the form is known to be in order.
    pub fn is_checked(&self) -> bool {
        self.changed.is_none() && self.answered == self.asked
    }

    /// Takes in the devices of this machine.
    pub fn devices(&mut self, devices: Vec<DeviceLine>) {
        self.devices = devices;
    }

    /// The fault of a setting.
    pub fn fault(&self, name: &str) -> Option<&str> {
        self.faults.iter().find(|fault| fault.setting == name).map(|fault| fault.message.as_str())
    }

    /// A file or folder was dropped on the window.
    pub fn dropped(&mut self, path: &Path) {
        self.demo = false;
        let text = path.display().to_string();
        let is_model = storage::is_dir(path) && storage::exists(path.join("config.json"));
        self.set(if is_model { "model" } else { "data" }, text);
    }

    /// Takes over the settings of the run in `folder`, but not its folder.
    ///
    /// # Errors
    /// No settings there.
    pub fn take_settings_of(&mut self, folder: &Path) -> Result<()> {
        let config = RunConfig::stored(folder)?;
        self.demo = config.model == self.demo_base.model;
        let differing = config.differing(self.base()).into_iter().filter(|(name, _)| *name != "out");
        self.typed = differing.map(|(name, text)| (name.to_owned(), text)).collect();
        self.overwrite = false;
        self.touch();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> Form {
        let demo = RunConfig { model: "agoge-demo".into(), learning_rate: 1e-2, ..RunConfig::default() };
        let options = Options { runs_folder: "nowhere/runs".into(), demo, ..Options::default() };
        Form::new(&options, &Remembered::first())
    }

    #[test]
    fn only_what_differs_is_kept_and_what_cannot_be_read_is_a_fault() {
        let mut form = form();
        assert_eq!(form.text("learning_rate"), "0.01", "the demo's own");
        form.set("learning_rate", "0.02".into());
        form.set("batch_size", form.text("batch_size"));
        assert_eq!(form.texts(), [("learning_rate".to_owned(), "0.02".to_owned())]);
        assert_eq!(form.config().0.learning_rate, 0.02);
        form.set("steps", "many".into());
        let faults = form.config().1;
        assert!(faults.len() == 1 && faults[0].setting == "steps", "{faults:?}");
        form.reset_all();
        assert!(form.config().1.is_empty());
    }

    #[test]
    fn an_answer_to_an_earlier_check_is_not_taken() {
        let mut form = form();
        let (Some(Request::Check { number, .. }), _) = form.check() else { panic!("a check at once") };
        form.set("sparsity", "0.9".into());
        assert!(!form.is_checked());
        std::thread::sleep(QUIET);
        let (Some(Request::Check { number: second, .. }), _) = form.check() else { panic!("a second check") };
        let fault = Fault { setting: "sparsity".into(), message: "no".into() };
        form.checked(number, vec![fault.clone()], Vec::new(), None);
        assert!(form.faults.is_empty() && !form.is_checked());
        form.checked(second, vec![fault], Vec::new(), None);
        assert_eq!((form.fault("sparsity"), form.is_checked()), (Some("no"), true));
    }
}
