//! The one error type: a sentence that says what is wrong, where, and what to do.

use std::path::{Path, PathBuf};

/// Anything that can stop agoge. Every message is one clear sentence for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What a person gave (a setting, a file's content) is wrong.
    #[error("{0}")]
    Input(String),
    /// Reading or writing a path failed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried: "read", "write", "create", ...
        action: &'static str,
        /// The path it was tried on.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The device failed or cannot do what was asked.
    #[error("{0}")]
    Device(String),
    /// The run itself went wrong (a loss that is not finite, for example).
    #[error("{0}")]
    Run(String),
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Input`] from anything that can become a string.
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input(message.into())
    }

    /// An [`Error::File`]; meant for `map_err(|e| Error::file("read", path, e))`.
    pub fn file(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File { action, path: path.to_path_buf(), source }
    }
}
