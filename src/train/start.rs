//! The method of a run, started on its model: from settings, from an adapter, or from a checkpoint.

use super::{calibrate::FirstBatches, inputs::Inputs};
use crate::{
    Result,
    config::RunConfig,
    method::{self, MethodEntry, Setup, Training, adapter::Adapter},
    model::weights::Weights,
};

/// Starts the method `entry` as `config` says, or as the tensors of a checkpoint do.
///
/// # Errors
/// Settings, model and adapter that do not fit together, or a device that failed.
pub(super) async fn start_method(
    entry: &MethodEntry,
    config: &RunConfig,
    inputs: &mut Inputs,
    state: Option<&Weights>,
) -> Result<Training> {
    let method_config = config.method_config();
    let (dataset, pad_id, device) = (&inputs.dataset, inputs.base.pad_id(), &inputs.device);
    let first = FirstBatches { config, dataset, pad_id, device };
    let mut setup = Setup::new(&method_config, device, config.seed);
    setup.calibrate = Some(&first);
    setup.state = state;
    // A resumed run takes its values and masks from the checkpoint, but which tensors it has, and their ranks, are still those
    // of the adapter.
    if !config.init_adapter.as_os_str().is_empty() {
        let adapter = Adapter::read(&config.init_adapter)?;
        adapter.check_base(&inputs.base)?;
        setup.initial = adapter.changes(&inputs.base.transformer)?;
    }
    method::start(entry, &mut setup, &mut inputs.base.transformer).await
}
