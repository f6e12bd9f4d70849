//! Text from generated tokens one by one, held back until it is whole.
//!
//! Byte-level and byte-fallback tokenizers split a character over several tokens; a terminal must never see half of
//! one. This decodes a short window of tokens and gives what is new. It is not a decoder of its own: all text comes
//! from the tokenizer.

use super::tokenizer::Tokenizer;
use crate::error::Result;

/// A UTF-8 character has at most four bytes: more waiting tokens than this are broken text, given out as it is.
const MOST_WAITING: usize = 8;
/// Special tokens that give no text may wait longer: they are kept so that the space behind them stays right.
const MOST_SILENT: usize = 64;
/// How many tokens of the prompt keep the decoder's treatment of leading spaces right.
const CONTEXT: std::ops::RangeInclusive<usize> = 6..=12;

/// Turns token ids into text as they come.
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    /// The ids given out last (they begin and end with whole characters), then those that wait.
    window: Vec<u32>,
    given: usize,
}

impl<'a> StreamDecoder<'a> {
    /// A decoder that continues after `context` (the prompt's ids; may be empty), whose text is not repeated.
    pub fn new(tokenizer: &'a Tokenizer, context: &[u32], skip_special: bool) -> Self {
        // The window must not begin inside a character.
        let window = CONTEXT
            .map(|length| &context[context.len().saturating_sub(length)..])
            .find(|window| tokenizer.decode(window, skip_special).is_ok_and(|text| !text.contains('\u{fffd}')))
            .unwrap_or_default()
            .to_vec();
        Self { tokenizer, skip_special, given: window.len(), window }
    }

    /// Takes one id; gives the text that has become whole, or `None` while a character is incomplete.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.window.push(id);
        let text = self.new_text()?;
        let waiting = self.window.len() - self.given;
        if text.is_empty() && waiting <= MOST_SILENT {
            return Ok(None);
        }
        let broken = text.ends_with('\u{fffd}');
        if broken && waiting <= MOST_WAITING {
            return Ok(None);
        }
        self.settle(broken);
        Ok((!text.is_empty()).then_some(text))
    }

    /// Gives what is still held back (an incomplete character reads as U+FFFD), or `None`.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn finish(&mut self) -> Result<Option<String>> {
        let text = self.new_text()?;
        self.settle(true);
        Ok((!text.is_empty()).then_some(text))
    }

    /// The text of the whole window behind what was given already.
    fn new_text(&self) -> Result<String> {
        let before = self.tokenizer.decode(&self.window[..self.given], self.skip_special)?;
        let all = self.tokenizer.decode(&self.window, self.skip_special)?;
        match all.strip_prefix(before.as_str()) {
            Some(rest) => Ok(rest.to_string()),
            // Clean-up rules of some decoders rewrite text across tokens; then the new ids alone are the best answer.
            None => self.tokenizer.decode(&self.window[self.given..], self.skip_special),
        }
    }

    /// Forgets what was given before; what has just been given becomes the context, unless it is `broken`.
    fn settle(&mut self, broken: bool) {
        let forgotten = if broken { self.window.len() } else { self.given };
        self.window.drain(..forgotten);
        self.given = self.window.len();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{byte_fallback_tokenizer, byte_level_tokenizer};
    use super::*;
    use crate::rng::Stream;

    fn stream(tokenizer: &Tokenizer, context: &[u32], ids: &[u32]) -> Vec<String> {
        let mut decoder = StreamDecoder::new(tokenizer, context, true);
        let mut parts = Vec::new();
        for &id in ids {
            parts.extend(decoder.push(id).expect("decode"));
        }
        parts.extend(decoder.finish().expect("decode"));
        parts
    }

    #[test]
    fn characters_stay_whole() {
        for tokenizer in [byte_level_tokenizer(), byte_fallback_tokenizer()] {
            let text = "aé€😀 b 日本 \n\n  c";
            let ids = tokenizer.encode(text, false).expect("ids");
            let parts = stream(&tokenizer, &[], &ids);
            assert_eq!(parts.concat(), text);
            assert!(parts.iter().all(|part| !part.contains('\u{fffd}')), "{parts:?}");
            assert!(parts.len() > 10);
        }
    }

    #[test]
    fn long_streams_and_contexts_join_exactly() {
        for tokenizer in [byte_level_tokenizer(), byte_fallback_tokenizer()] {
            let text = "x 😀 yé  z\t".repeat(40);
            let ids = tokenizer.encode(&text, true).expect("ids");
            for cut in [0, 1, 2, 9, 200] {
                let before = tokenizer.decode(&ids[..cut], true).expect("text");
                if !before.ends_with('\u{fffd}') {
                    assert_eq!(before + &stream(&tokenizer, &ids[..cut], &ids[cut..]).concat(), text, "cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn random_ids_give_the_whole_text_and_never_panic() {
        for tokenizer in [byte_level_tokenizer(), byte_fallback_tokenizer()] {
            let mut whole = 0;
            for seed in 0..500 {
                let mut random = Stream::new(seed, "ids");
                let ids: Vec<u32> = (0..random.below(40))
                    .map(|_| if random.below(4) == 0 { random.below(300) } else { random.below(100) + 30 } as u32)
                    .collect();
                let parts = stream(&tokenizer, &[], &ids).concat();
                let text = tokenizer.decode(&ids, true).expect("text");
                if !text.contains('\u{fffd}') {
                    whole += 1;
                    assert_eq!(parts, text);
                }
            }
            assert!(whole > 20, "only {whole}");
        }
    }

    #[test]
    fn broken_bytes_do_not_wait_for_ever() {
        let tokenizer = byte_level_tokenizer();
        let lone = tokenizer.encode("é", false).expect("ids")[0];
        let parts = stream(&tokenizer, &[], &[lone; 20]);
        assert_eq!(parts.concat().chars().filter(|&c| c == '\u{fffd}').count(), 20);
        assert!(parts.len() > 1);
    }
}
