//! Models from elsewhere are those of the Hugging Face hub.

use std::path::PathBuf;

use crate::Result;

pub use crate::hub::HubModel as Remote;
pub(super) use crate::hub::Snapshot;

/// The model that an adapter calls `name`: a folder, or a model of the hub.
///
/// # Errors
/// None; whether it is there is seen when it is loaded.
pub fn of_adapter(name: &str) -> Result<PathBuf> {
    Ok(name.into())
}
