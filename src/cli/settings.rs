//! The settings of a run as the command line gives them: a file, and flags that win over it.

use std::path::Path;

use crate::{
    Error, Result,
    config::{Overrides, RunConfig},
};

/// The settings of a TOML `file` with the typed ones laid over them. Those in `needed` (of model, data and out) must be there.
pub(super) fn read(file: Option<&Path>, typed: Overrides, needed: &[&str]) -> Result<RunConfig> {
    let mut config = file.map_or_else(|| Ok(RunConfig::default()), RunConfig::from_toml)?;
    typed.apply(&mut config);
    for (name, path) in [("model", &config.model), ("data", &config.data), ("out", &config.out)] {
        if needed.contains(&name) && path.as_os_str().is_empty() {
            return Err(Error::input(format!("--{name} is missing: give it as a flag or in --config")));
        }
    }
    Ok(config)
}
