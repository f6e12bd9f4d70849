//! The settings of a run, checked before anything is fetched, opened or written.

use crate::{
    Error, Result,
    config::RunConfig,
    data::DataFiles,
    demo,
    event::messages::{Fault, Setup},
    method::{self, adapter::Adapter, mask},
    source::{self, embedded},
    train::{
        folder::{check_out, stored_config, unresumable},
        lock,
    },
};

/// What is wrong with the settings of a run, setting by setting.
#[derive(Debug, Default)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Everything that is wrong and can be known without the model's files and a device, and the settings as they are used.
    pub fn of(setup: &Setup) -> (RunConfig, Self) {
        let config = if setup.demo { demo::on_demo(&setup.config) } else { setup.config.clone() };
        let mut faults = Self::default();
        faults.missing(&config, setup.demo);
        config.faults().into_iter().for_each(|fault| faults.add(fault.setting, fault.message));
        let entry = method::find(&config.method);
        if entry.as_ref().is_ok_and(|entry| entry.reads("mask")) {
            faults.unless("mask", mask::find(&config.mask).map(drop));
        }
        faults.unless("method", entry.map(drop));
        if !config.init_adapter.as_os_str().is_empty() {
            faults.unless("init_adapter", Adapter::read(&config.init_adapter).map(drop));
        }
        faults.out(setup, &config);
        faults.data(&config);
        (config, faults)
    }

    fn add(&mut self, setting: &str, message: String) {
        self.0.push(Fault { setting: setting.to_owned(), message });
    }

    /// Blames the setting that the message begins with, else `setting`.
    pub fn blame(&mut self, setting: &str, error: &Error) {
        let message = error.to_string();
        let word = message.strip_prefix("--").and_then(|rest| rest.split([' ', ':']).next()).unwrap_or_default();
        let named = word.replace('-', "_");
        let known = crate::config::settings().iter().any(|known| known.name == named);
        self.add(if known { &named } else { setting }, message);
    }

    /// Blames `setting` for an error.
    pub fn unless(&mut self, setting: &str, result: Result<()>) {
        if let Err(error) = result {
            self.blame(setting, &error);
        }
    }

    /// Whether `setting` is to blame for something.
    pub fn blames(&self, setting: &str) -> bool {
        self.0.iter().any(|fault| fault.setting == setting)
    }

    /// Settings that a run needs and that are not there. The demo may leave nothing behind.
    fn missing(&mut self, config: &RunConfig, demo: bool) {
        for (name, path, todo) in [
            ("model", &config.model, "name a model folder, org/name on the Hugging Face hub, or agoge-demo"),
            ("data", &config.data, "name a file, or a folder with train.*"),
            ("out", &config.out, "name a folder for what the run makes"),
        ] {
            if path.as_os_str().is_empty() && !(demo && name == "out") {
                self.add(name, format!("--{name} is missing: {todo}"));
            }
        }
    }

    /// The folder that the run will write, or continue in.
    fn out(&mut self, setup: &Setup, config: &RunConfig) {
        let out = &config.out;
        if out.as_os_str().is_empty() {
            return;
        }
        if !setup.resume {
            return self.unless("out", check_out(out, setup.overwrite));
        }
        match stored_config(out) {
            Err(error) => self.blame("out", &error),
            Ok(stored) => {
                unresumable(&stored, config).into_iter().for_each(|(setting, message)| self.add(setting, message));
            }
        }
        self.unless("out", lock::refuse_held(out));
    }

    /// A typing error in a path should not cost a download.
    fn data(&mut self, config: &RunConfig) {
        let valid = (!config.valid_data.as_os_str().is_empty()).then_some(config.valid_data.as_path());
        // The data inside this program are unpacked only where they have to be.
        if config.data.as_os_str().is_empty() || (embedded::is_embedded(&config.data) && valid.is_none()) {
            return;
        }
        let find = |valid| DataFiles::find(&source::data(&config.data)?, valid);
        self.unless("data", find(None).map(drop));
        if valid.is_some() && !self.blames("data") {
            self.unless("valid_data", find(valid).map(drop));
        }
    }
}

/// Settings with which nothing is wrong as far as is known.
#[derive(Debug)]
pub struct Checked {
    pub(super) config: RunConfig,
    pub(super) resume: bool,
    pub(super) overwrite: bool,
}

impl Checked {
    /// Checks the settings of a run.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(setup: &Setup) -> Result<Self> {
        let (config, faults) = Faults::of(setup);
        match faults.0.into_iter().next() {
            Some(fault) => Err(Error::Input(fault.message)),
            None => Ok(Self { config, resume: setup.resume, overwrite: setup.overwrite }),
        }
    }
}
