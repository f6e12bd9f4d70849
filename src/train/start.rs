//! The method of a run, started on its model: from settings, from an adapter to go on with, or by a look at the data.

use super::{calibrate::FirstBatches, inputs::Inputs};
use crate::{
    Result,
    config::RunConfig,
    method::{self, Entry, Method, Setup, adapter::Adapter},
};

/// Starts the method `entry` as `config` says.
///
/// # Errors
/// Settings, model and adapter that do not fit together, or a device that failed.
pub(super) async fn start_method(entry: &Entry, config: &RunConfig, inputs: &mut Inputs) -> Result<Box<dyn Method>> {
    let method_config = config.method_config();
    let (dataset, pad_id, device) = (&inputs.dataset, inputs.base.pad_id(), &inputs.device);
    let first = FirstBatches { config, dataset, pad_id, device };
    let mut setup = Setup::new(&method_config, device, config.seed);
    setup.calibrate = Some(&first);
    // A resumed run takes its values from the checkpoint, but its masks and ranks are still those of the adapter.
    if !config.init_adapter.as_os_str().is_empty() {
        let adapter = Adapter::read(&config.init_adapter)?;
        adapter.check_base(&inputs.base)?;
        setup.initial = adapter.deltas(&inputs.base.transformer)?;
    }
    method::start(entry, &mut setup, &mut inputs.base.transformer).await
}
