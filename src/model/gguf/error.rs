//! What is wrong with a description that cannot be written.

use crate::Error;

/// An error about `config.json`.
pub(super) fn config_error(message: impl std::fmt::Display) -> Error {
    Error::input(format!("config.json: {message}"))
}
