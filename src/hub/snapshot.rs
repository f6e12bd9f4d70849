//! What a model of the hub is on this machine.

use std::path::PathBuf;

/// The files of a model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Where they are.
    pub folder: PathBuf,
    /// The commit that they belong to: enough to get exactly the same again.
    pub commit: String,
}
