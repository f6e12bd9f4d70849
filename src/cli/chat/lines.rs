//! Where the user's lines come from: an editor with history on a terminal, plain lines otherwise.

use std::io::{BufRead, IsTerminal, StdinLock};

use rustyline::{Config, Editor, error::ReadlineError, history::MemHistory};

use super::style::Style;
use crate::{Error, Result};

/// One thing that the user did.
#[derive(Debug)]
pub(super) enum Line {
    Text(String),
    /// Ctrl-C where nothing is being said.
    Interrupted,
    /// Ctrl-D, or the end of the input.
    End,
}

/// The source of lines.
pub(super) enum Lines {
    Terminal(Box<Editor<(), MemHistory>>),
    Plain(StdinLock<'static>),
}

impl Lines {
    pub(super) fn open() -> Result<Self> {
        if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
            return Ok(Self::Plain(std::io::stdin().lock()));
        }
        let config = Config::builder().auto_add_history(true).build();
        let editor = Editor::with_history(config, MemHistory::new()).map_err(|e| failed(&e))?;
        Ok(Self::Terminal(Box::new(editor)))
    }

    /// Whether a person sits there.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Waits for the next line; on a terminal behind `prompt`.
    pub(super) fn next(&mut self, prompt: &str, style: Style) -> Result<Line> {
        match self {
            // Raw and styled: the editor counts the columns of the first.
            Self::Terminal(editor) => match editor.readline(&(prompt, style.dim(prompt))) {
                Ok(text) => Ok(Line::Text(text)),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(failed(&error)),
            },
            Self::Plain(input) => {
                let mut bytes = Vec::new();
                let read = input.read_until(b'\n', &mut bytes).map_err(|e| failed(&e))?;
                if read == 0 {
                    return Ok(Line::End);
                }
                let text = String::from_utf8(bytes).map_err(|_| {
                    Error::input("standard input: there is a line that is not UTF-8 text; convert it to UTF-8")
                })?;
                Ok(Line::Text(text.trim_end_matches(['\n', '\r']).to_owned()))
            }
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::Run(format!("cannot read from the terminal or standard input: {error}"))
}
