//! The stages of a launch behind the check of the settings.

use super::{
    checked::Checked,
    devices::OpenDevices,
    load::{is_all_embedded, load_inputs},
    running::Session,
};
use crate::{
    Result,
    config::RunConfig,
    event::messages::Setup,
    model::pretrained::read_architecture,
    source::{self, Progress, Report, model_folder},
    train::{Inputs, Run, folder::prepare_out},
};

/// Launches a run.
///
/// # Errors
/// Settings, model, data, folder or device that cannot be used.
pub async fn launch(setup: &Setup, devices: &OpenDevices, report: Report<'_>) -> Result<Session> {
    let pinned = Checked::new(setup)?.pin(report)?;
    let loaded = pinned.load(devices, false, report).await?;
    loaded.prepare()?.start(report).await
}

impl Checked {
    /// Fetches a model that is elsewhere and notes its commit, so that the run can be repeated exactly.
    ///
    /// # Errors
    /// No such model, or a download that fails.
    pub fn pin(mut self, report: Report<'_>) -> Result<Pinned> {
        source::pin(&mut self.config, report)?;
        Ok(Pinned(self))
    }
}

/// Settings whose model is on this machine, or in this page.
#[derive(Debug)]
pub struct Pinned(Checked);

impl Pinned {
    /// The same as something to be launched.
    pub fn setup(self) -> Setup {
        let Checked { config, resume, overwrite } = self.0;
        Setup { config, demo: false, resume, overwrite }
    }

    /// Opens the device and loads model and data; `with_test` also the test file beside the training file, if there is one.
    ///
    /// # Errors
    /// Whatever is wrong with them.
    pub async fn load(self, devices: &OpenDevices, with_test: bool, report: Report<'_>) -> Result<Loaded> {
        let config = &self.0.config;
        if !is_all_embedded(config) {
            // What is wrong with a model folder should not cost the opening of a device.
            read_architecture(&model_folder(config)?)?;
        }
        report(Progress::Stage("opening the device"));
        let device = devices.open(&config.device).await?;
        let inputs = load_inputs(config, device, with_test, report)?;
        Ok(Loaded { settings: self.0, inputs })
    }
}

/// Settings with what the run works on.
pub struct Loaded {
    settings: Checked,
    inputs: Inputs,
}

impl Loaded {
    /// Makes the folder of the run, if it has one.
    ///
    /// # Errors
    /// It cannot be written, or holds something that must stay.
    pub fn prepare(self) -> Result<Prepared> {
        let Checked { config, resume, overwrite } = &self.settings;
        if !resume && !config.out.as_os_str().is_empty() {
            prepare_out(&config.out, *overwrite)?;
        }
        Ok(Prepared(self))
    }
}

/// A run that can begin.
pub struct Prepared(Loaded);

impl Prepared {
    /// Its settings.
    pub fn config(&self) -> &RunConfig {
        &self.0.settings.config
    }

    /// Begins it.
    ///
    /// # Errors
    /// Settings, model and data that do not fit together; a folder that cannot be resumed; a device that failed.
    pub async fn start(self, report: Report<'_>) -> Result<Session> {
        report(Progress::Stage("choosing what is trained"));
        let Loaded { settings, inputs } = self.0;
        Run::new(settings.config, inputs, settings.resume).await.map(Session::new)
    }
}
