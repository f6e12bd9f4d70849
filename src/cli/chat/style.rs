//! The little that is styled: what is not the conversation itself is dim.

use std::io::IsTerminal;

/// Whether escape sequences are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    coloured: bool,
}

impl Style {
    /// As the terminal is, and as `NO_COLOR` and `TERM` say.
    pub(super) fn of_terminal() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { coloured: std::io::stderr().is_terminal() && !plain }
    }

    /// Steps back behind the conversation.
    pub(super) fn dim(self, text: &str) -> String {
        if self.coloured { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
    }
}
