//! Where the user's lines come from: an editor with history on a terminal, plain lines otherwise.

use std::io::{BufRead, IsTerminal, StdinLock};

use rustyline::{
    Config, Context, Editor, Helper, completion::Completer, error::ReadlineError, highlight::Highlighter, hint::Hinter,
    history::MemHistory, validate::Validator,
};

use super::{commands::COMMANDS, style::Style};
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
    Terminal(Box<Editor<Commands, MemHistory>>),
    Plain(StdinLock<'static>),
}

impl Lines {
    pub(super) fn open() -> Result<Self> {
        if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
            return Ok(Self::Plain(std::io::stdin().lock()));
        }
        let config = Config::builder().auto_add_history(true).build();
        let mut editor = Editor::with_history(config, MemHistory::new()).map_err(|e| failed(&e))?;
        editor.set_helper(Some(Commands));
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

/// Completes the commands by Tab. With a helper the editor also styles its prompt.
pub(super) struct Commands;

impl Completer for Commands {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let begun = line.get(..at).and_then(|text| text.strip_prefix('/'));
        let names = COMMANDS.iter().map(|(name, ..)| *name);
        let fitting = names.filter(|name| begun.is_some_and(|begun| name.starts_with(begun)));
        Ok((0, fitting.map(|name| format!("/{name}")).collect()))
    }
}

impl Hinter for Commands {
    type Hint = String;
}

impl Highlighter for Commands {}
impl Validator for Commands {}
impl Helper for Commands {}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::Run(format!("cannot read from the terminal or standard input: {error}"))
}
