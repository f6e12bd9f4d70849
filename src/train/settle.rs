//! How a run uses memory, settled once model and data are loaded.

use super::{
    estimate::{Rows, settle},
    inputs::Inputs,
};
use crate::{Result, config::RunConfig, method::adapter::Adapter};

impl Inputs {
    /// [`settle`]s how a run of these uses memory; one that is `resumed` keeps the batches that it has.
    pub(super) fn settle(&self, config: &mut RunConfig, resumed: bool) -> Result<Option<String>> {
        if !config.init_adapter.as_os_str().is_empty() {
            Adapter::read(&config.init_adapter)?.check_base(&self.base)?;
        }
        let budget = if resumed { std::mem::take(&mut config.memory_budget) } else { String::new() };
        let architecture = &self.base.transformer.architecture;
        let (classes, rows) = (self.base.classes().len(), Rows::of(&self.dataset));
        let choice = settle(config, architecture, classes, &rows, &self.device.facts)?;
        if resumed {
            config.memory_budget = budget;
        }
        Ok(choice)
    }
}
