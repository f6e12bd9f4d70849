//! What has been said so far, and how much of it still fits the model.

use crate::{
    Error, Result,
    data::{Message, Tokenizer},
};

/// A conversation: user and assistant in turn, behind a system message if there is one.
#[derive(Debug)]
pub(super) struct Conversation {
    /// Stays whatever else is dropped.
    pub system: Option<String>,
    turns: Vec<Message>,
}

impl Conversation {
    /// Nothing has been said yet.
    pub(super) fn new(system: Option<String>) -> Self {
        Self { system, turns: Vec::new() }
    }

    /// Adds what the user says. It is answered, or withdrawn.
    pub(super) fn ask(&mut self, text: &str) {
        self.turns.push(Message::new("user", text));
    }

    /// Adds the answer to it.
    pub(super) fn answer(&mut self, text: &str) {
        self.turns.push(Message::new("assistant", text));
    }

    /// Takes back the last thing the user said, with its answer, and gives it.
    pub(super) fn undo(&mut self) -> Option<String> {
        let at = self.turns.iter().rposition(|turn| turn.role == "user")?;
        let said = self.turns.drain(at..).next()?;
        Some(said.content)
    }

    /// Forgets everything but the system message.
    pub(super) fn reset(&mut self) {
        self.turns.clear();
    }

    /// The ids `[T]` after which the next answer begins, and how many of the oldest exchanges had to be forgotten so
    /// that they and `room` more fit into the model's `positions`.
    ///
    /// # Errors
    /// The template refuses the messages, or the last message alone is too long.
    pub(super) fn prompt(&mut self, tokenizer: &Tokenizer, positions: usize, room: usize) -> Result<(Vec<u32>, usize)> {
        let mut forgotten = 0;
        loop {
            let system = self.system.iter().map(|text| Message::new("system", text));
            let messages: Vec<Message> = system.chain(self.turns.iter().cloned()).collect();
            let ids = tokenizer.encode_chat(&messages, true)?;
            if ids.len() + room <= positions {
                return Ok((ids, forgotten));
            }
            // An exchange goes as a whole: templates want user and assistant in turn.
            if self.turns.len() > 2 {
                self.turns.drain(..2);
                forgotten += 1;
                continue;
            }
            if ids.len() < positions {
                return Ok((ids, forgotten));
            }
            return Err(Error::input(format!(
                "this message needs {} tokens with what belongs around it, but the model has only {positions} positions; \
                 shorten it",
                ids.len()
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_exchange_is_taken_back() {
        let mut talk = Conversation::new(Some("Be brief.".into()));
        assert_eq!(talk.undo(), None);
        talk.ask("one");
        talk.answer("1");
        talk.ask("two");
        assert_eq!(talk.undo().as_deref(), Some("two"), "not answered yet");
        assert_eq!(talk.undo().as_deref(), Some("one"));
        assert!(talk.turns.is_empty() && talk.system.is_some());
    }
}
