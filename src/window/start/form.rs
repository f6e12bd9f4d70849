//! The settings typed on the start page, and the result of checking them.

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
    window::{options::Options, saved_state::SavedState},
};

/// Time without typing after which a form is checked.
const CHECK_DELAY: Duration = Duration::from_millis(250);

/// The state of the start page.
pub struct Form {
    /// Whether model and data are those of the built-in demo.
    pub demo: bool,
    /// Whether a run in the out folder may be replaced.
    pub overwrite: bool,
    /// Whether the two methods that can be compared are trained one after the other.
    pub compare: bool,
    /// Every setting there is.
    pub settings: Vec<SettingInfo>,
    /// The typed texts, by setting; a setting that is not here is at its default.
    typed: BTreeMap<String, String>,
    runs_folder: PathBuf,
    method_settings: Vec<(&'static str, &'static [&'static str])>,
    comparisons: Vec<(&'static str, [&'static str; 2])>,
    plain_base: RunConfig,
    demo_base: RunConfig,
    /// Devices to choose from.
    pub devices: Vec<DeviceLine>,
    /// What the last check found wrong.
    pub faults: Vec<Fault>,
    /// Description of model and data.
    pub model_and_data: Vec<String>,
    /// Memory that the run will use.
    pub estimate: Option<Estimate>,
    /// Number of the last check that was requested, and of the last one that was answered.
    requested: u64,
    answered: u64,
    /// When something was typed that has not been checked yet.
    changed: Option<Instant>,
}

impl Form {
    /// A form with the texts that were saved.
    pub fn new(options: &Options, saved: &SavedState) -> Self {
        Self {
            demo: saved.demo,
            overwrite: false,
            compare: false,
            settings: config::settings(),
            typed: saved.form.iter().cloned().collect(),
            runs_folder: options.runs_folder.clone(),
            method_settings: options.method_settings.clone(),
            comparisons: options.comparisons.clone(),
            plain_base: RunConfig::default(),
            demo_base: options.demo.clone(),
            devices: Vec::new(),
            faults: Vec::new(),
            model_and_data: Vec::new(),
            estimate: None,
            requested: 0,
            answered: 0,
            changed: Some(Instant::now().checked_sub(CHECK_DELAY).unwrap_or_else(Instant::now)),
        }
    }

    /// The settings before anything was typed.
    fn base(&self) -> &RunConfig {
        if self.demo { &self.demo_base } else { &self.plain_base }
    }

    fn default_text(&self, name: &str) -> String {
        self.base().text(name).unwrap_or_default()
    }

    /// The text in the field of a setting.
    pub fn text(&self, name: &str) -> String {
        self.typed.get(name).cloned().unwrap_or_else(|| self.default_text(name))
    }

    /// Whether the setting was changed.
    pub fn is_typed(&self, name: &str) -> bool {
        self.typed.contains_key(name)
    }

    /// Sets the text in the field of a setting; the default is the same as no text.
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

    /// Resets a setting to its default.
    pub fn reset(&mut self, name: &str) {
        self.typed.remove(name);
        self.touch();
    }

    /// Resets all settings to their defaults.
    pub fn reset_all(&mut self) {
        self.typed.clear();
        self.overwrite = false;
        self.touch();
    }

    /// The form has to be checked again.
    pub fn touch(&mut self) {
        self.changed = Some(Instant::now());
    }

    /// The typed texts by setting.
    pub fn texts(&self) -> Vec<(String, String)> {
        self.typed.iter().map(|(name, text)| (name.clone(), text.clone())).collect()
    }

    /// Whether a run with this method reads the setting; the form shows only those that are read.
    fn is_read_by(&self, method: &str, name: &str) -> bool {
        let lists_it = |settings: &[&str]| settings.contains(&name);
        let mut listing = self.method_settings.iter().filter(|(_, settings)| lists_it(settings)).peekable();
        let is_read = listing.peek().is_none() || listing.any(|(reading, _)| *reading == method);
        is_read && !(self.demo && OF_MODEL_AND_DATA.contains(&name))
    }

    /// Whether the run in the form reads the setting.
    pub fn is_read(&self, name: &str) -> bool {
        self.is_read_by(&self.text("method"), name)
    }

    /// The setting that the chosen method lists first: the one that people change first.
    pub fn main_setting(&self) -> Option<&'static str> {
        let chosen = self.text("method");
        self.method_settings.iter().find(|(method, _)| *method == chosen)?.1.first().copied()
    }

    /// The settings that were typed, and those that cannot be parsed.
    pub fn config(&self) -> (RunConfig, Vec<Fault>) {
        self.config_with_method(&self.text("method"))
    }

    fn config_with_method(&self, method: &str) -> (RunConfig, Vec<Fault>) {
        let (mut config, mut faults) = (self.base().clone(), Vec::new());
        config.method = method.to_owned();
        for (name, text) in &self.typed {
            // What the run does not read keeps its text, for the case that the method is changed back.
            if name == "method" || !self.is_read_by(method, name) {
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

    /// A folder in which there is no run yet.
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

    /// The run described by the form.
    pub fn setup(&self) -> (Setup, Vec<Fault>) {
        let (config, faults) = self.config();
        (Setup { config, demo: self.demo, resume: false, overwrite: self.overwrite }, faults)
    }

    /// The run described by the form, but with this method, in a folder of its own.
    fn setup_with_method(&self, method: &str) -> Setup {
        let (mut config, _) = self.config_with_method(method);
        if self.is_typed("out") {
            config.out = PathBuf::from(format!("{}-{method}", config.out.display()));
        }
        Setup { config, demo: self.demo, resume: false, overwrite: self.overwrite }
    }

    /// The two methods that can be compared, if the chosen one is one of them.
    pub fn comparison(&self) -> Option<[&'static str; 2]> {
        let chosen = self.text("method");
        self.comparisons.iter().find(|(method, _)| *method == chosen).map(|(_, methods)| *methods)
    }

    /// The two runs of a comparison, if one is wanted.
    pub fn compared_setups(&self) -> Option<[Setup; 2]> {
        self.comparison().filter(|_| self.compare).map(|methods| methods.map(|method| self.setup_with_method(method)))
    }

    /// The command that starts the same run.
    pub fn command_line(&self) -> String {
        let flags = self.config().0.flags(self.base());
        format!("agoge {}{flags}", if self.demo { "demo" } else { "train" })
    }

    /// The check to request, once nothing was typed for a moment; else how long to wait for that.
    pub fn check(&mut self) -> (Option<Request>, Option<Duration>) {
        let Some(changed) = self.changed else { return (None, None) };
        let elapsed = changed.elapsed();
        if elapsed < CHECK_DELAY {
            return (None, Some(CHECK_DELAY - elapsed));
        }
        self.changed = None;
        let (setup, unreadable) = self.setup();
        self.requested += 1;
        if !unreadable.is_empty() {
            // What cannot be parsed is not sent to the workers.
            (self.answered, self.faults, self.estimate) = (self.requested, unreadable, None);
            return (None, None);
        }
        (Some(Request::Check { number: self.requested, setup: Box::new(setup) }), None)
    }

    /// Receives the result of a check, unless a later one was requested.
    pub fn checked(
        &mut self,
        number: u64,
        faults: Vec<Fault>,
        model_and_data: Vec<String>,
        estimate: Option<Estimate>,
    ) {
        if number == self.requested {
            (self.answered, self.faults) = (number, faults);
            (self.model_and_data, self.estimate) = (model_and_data, estimate);
        }
    }

    /// Whether the form was checked since the last change.
    pub fn is_checked(&self) -> bool {
        self.changed.is_none() && self.answered == self.requested
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

    /// Copies the settings of the run in `folder`, except its folder.
    ///
    /// # Errors
    /// No settings there.
    pub fn copy_settings_of(&mut self, folder: &Path) -> Result<()> {
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
        let options = Options {
            runs_folder: "nowhere/runs".into(),
            demo,
            method_settings: vec![("sparta", &["sparsity", "quantize"]), ("lora", &["lora_rank", "quantize"])],
            comparisons: vec![("lora", ["lora", "sparta"])],
            ..Options::default()
        };
        Form::new(&options, &SavedState::first())
    }

    #[test]
    fn only_differences_are_kept_and_what_cannot_be_parsed_is_a_fault() {
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
    fn a_setting_that_the_method_does_not_read_is_hidden_and_left_out() {
        let mut form = form();
        form.set("lora_rank", "16".into());
        form.set("sparsity", "0.9".into());
        let default = RunConfig::default();
        let read = |form: &Form| ["sparsity", "lora_rank", "quantize", "steps", "data"].map(|name| form.is_read(name));
        assert_eq!(read(&form), [true, false, true, true, false], "the demo has its own data");
        assert_eq!((form.config().0.sparsity, form.config().0.lora_rank), (0.9, default.lora_rank));
        assert!(!form.command_line().contains("lora-rank"), "{}", form.command_line());
        form.set("method", "lora".into());
        assert_eq!(read(&form), [false, true, true, true, false]);
        assert_eq!((form.config().0.sparsity, form.config().0.lora_rank), (default.sparsity, 16));
        assert!(form.compared_setups().is_none());
        form.compare = true;
        let [lora, sparta] = form.compared_setups().expect("a comparison").map(|setup| setup.config);
        assert_eq!([&lora.method[..], &sparta.method[..]], ["lora", "sparta"]);
        assert_eq!([lora.lora_rank, sparta.lora_rank], [16, default.lora_rank]);
        assert_eq!([lora.sparsity, sparta.sparsity], [default.sparsity, 0.9]);
        assert_ne!(lora.out, sparta.out);
        form.set("method", "full".into());
        assert_eq!(read(&form), [false, false, false, true, false]);
        assert!(form.compared_setups().is_none());
    }

    #[test]
    fn the_result_of_an_earlier_check_is_ignored() {
        let mut form = form();
        let (Some(Request::Check { number, .. }), _) = form.check() else { panic!("a check at once") };
        form.set("sparsity", "0.9".into());
        assert!(!form.is_checked());
        std::thread::sleep(CHECK_DELAY);
        let (Some(Request::Check { number: second, .. }), _) = form.check() else { panic!("a second check") };
        let fault = Fault { setting: "sparsity".into(), message: "no".into() };
        form.checked(number, vec![fault.clone()], Vec::new(), None);
        assert!(form.faults.is_empty() && !form.is_checked());
        form.checked(second, vec![fault], Vec::new(), None);
        assert_eq!((form.fault("sparsity"), form.is_checked()), (Some("no"), true));
    }
}
