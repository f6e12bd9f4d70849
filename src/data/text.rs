//! Plain text: documents between blank lines, tokenised in a stream and packed end to end.
//!
//! Never holds more than a few hundred kilobytes of text: the source is mapped, the ids go to an `id_store`. Cutting
//! the stream into blocks is the business of `split`.

use std::borrow::Cow;

use super::id_store::{IdStore, IdWriter};
use super::rows::{Refusals, not_utf8};
use super::source::Source;
use super::tokenizer::Tokenizer;
use crate::error::Result;

/// A document longer than this is given to the tokenizer in pieces cut at line ends.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces are tokenised together up to this number and this many bytes.
const BATCH_PIECES: usize = 1024;
const BATCH_BYTES: usize = 256 << 10;

/// The ids of all documents, how many they are, and what was refused.
pub(crate) struct TextIds {
    pub ids: IdStore,
    pub documents: usize,
    pub refusals: Refusals,
}

/// Reads all documents of `source`. Each is begun as the tokenizer begins a text (BOS, or nothing) and, with
/// `append_eos`, ended by the end token, if there is one. `\r\n` reads as `\n`.
pub(crate) fn read(source: &Source, tokenizer: &Tokenizer, append_eos: bool, skip_bad_rows: bool) -> Result<TextIds> {
    let mut packer = Packer {
        tokenizer,
        source,
        end: if append_eos { tokenizer.eos_ids().first().copied() } else { None },
        ids: IdWriter::new(tokenizer.id_bound()).counting(tokenizer.unknown_id()),
        waiting: Vec::new(),
        waiting_bytes: 0,
        documents: 0,
        refusals: Refusals::new(skip_bad_rows),
    };
    for (line, bytes) in (Documents { rest: source.bytes(), line: 1 }) {
        match std::str::from_utf8(bytes) {
            Ok(text) => packer.document(line, text)?,
            Err(e) => {
                let at = e.valid_up_to();
                let bad_line = line + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
                packer.flush()?;
                packer.refusals.refuse(source, bad_line, &not_utf8(bytes, at))?;
            }
        }
    }
    packer.flush()?;
    Ok(TextIds { ids: packer.ids.finish()?, documents: packer.documents, refusals: packer.refusals })
}

/// Documents and the lines on which they begin.
struct Documents<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Iterator for Documents<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // From the first line that is not blank to the last before a blank one.
        let all = self.rest;
        let mut begin: Option<(usize, usize)> = None;
        let mut position = 0;
        let mut end = 0;
        while position < all.len() {
            let stop = all[position..].iter().position(|&byte| byte == b'\n').map_or(all.len(), |at| position + at);
            let blank = all[position..stop].trim_ascii().is_empty();
            if blank && begin.is_some() {
                break;
            }
            if !blank {
                begin = begin.or(Some((self.line, position)));
                end = stop;
            }
            position = (stop + 1).min(all.len());
            self.line += 1;
        }
        self.rest = &all[position..];
        let (line, start) = begin?;
        let document = &all[start..end];
        Some((line, document.strip_suffix(b"\r").unwrap_or(document)))
    }
}

/// A part of a document.
struct Piece<'a> {
    text: Cow<'a, str>,
    line: usize,
    first: bool,
    last: bool,
}

struct Packer<'a> {
    tokenizer: &'a Tokenizer,
    source: &'a Source,
    end: Option<u32>,
    ids: IdWriter,
    waiting: Vec<Piece<'a>>,
    waiting_bytes: usize,
    documents: usize,
    refusals: Refusals,
}

impl<'a> Packer<'a> {
    fn document(&mut self, line: usize, text: &'a str) -> Result<()> {
        self.documents += 1;
        let mut rest = text;
        let mut line = line;
        let mut first = true;
        loop {
            let (piece, after) = rest.split_at(piece_length(rest));
            let last = after.is_empty();
            self.waiting_bytes += piece.len();
            self.waiting.push(Piece { text: unix_lines(piece), line, first, last });
            if self.waiting.len() >= BATCH_PIECES || self.waiting_bytes >= BATCH_BYTES {
                self.flush()?;
            }
            if last {
                return Ok(());
            }
            line += piece.bytes().filter(|&byte| byte == b'\n').count();
            (rest, first) = (after, false);
        }
    }

    fn flush(&mut self) -> Result<()> {
        let pieces = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        if pieces.is_empty() {
            return Ok(());
        }
        match self.tokenizer.encode_many(pieces.iter().map(|piece| piece.text.as_ref()).collect()) {
            Ok(encoded) => {
                for (piece, ids) in pieces.iter().zip(encoded) {
                    self.add(piece, ids)?;
                }
            }
            // One piece stops a whole batch: find it by taking them one by one.
            Err(_) => {
                for piece in &pieces {
                    match self.tokenizer.encode(&piece.text, false) {
                        Ok(ids) => self.add(piece, ids)?,
                        Err(e) => self.refusals.refuse(self.source, piece.line, &e.to_string())?,
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, piece: &Piece, mut ids: Vec<u32>) -> Result<()> {
        if piece.first {
            ids.splice(0..0, self.tokenizer.prefix().iter().copied());
        }
        if piece.last {
            ids.extend(self.tokenizer.suffix());
            if let Some(end) = self.end
                && ids.last() != Some(&end)
            {
                ids.push(end);
            }
        }
        self.ids.extend(&ids)
    }
}

/// How many bytes of `text` make the next piece: all, or up to a line end, a space, or at least a whole character.
fn piece_length(text: &str) -> usize {
    if text.len() <= PIECE_BYTES {
        return text.len();
    }
    let head = &text[..text.floor_char_boundary(PIECE_BYTES)];
    match head.rfind('\n').or_else(|| head.rfind(' ').filter(|&at| at > 0).map(|at| at - 1)) {
        // A space stays with the word behind it, as tokenizers have it.
        Some(at) => head.ceil_char_boundary(at + 1),
        None => head.len(),
    }
}

fn unix_lines(text: &str) -> Cow<'_, str> {
    if text.contains("\r\n") { text.replace("\r\n", "\n").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{byte_fallback_tokenizer, byte_level_tokenizer};
    use super::*;

    fn documents(bytes: &[u8]) -> Vec<(usize, &str)> {
        let found = Documents { rest: bytes, line: 1 };
        found.map(|(line, bytes)| (line, std::str::from_utf8(bytes).expect("text"))).collect()
    }

    fn decoded(tokenizer: &Tokenizer, bytes: &[u8], append_eos: bool) -> String {
        let source = Source::from_bytes("t", bytes.to_vec()).expect("source");
        let text = read(&source, tokenizer, append_eos, false).expect("text");
        tokenizer.decode(&text.ids.get(0..text.ids.len()), false).expect("decode")
    }

    #[test]
    fn documents_lie_between_blank_lines() {
        assert_eq!(documents(b"a\nb\n\nc\n\n\n\nd"), [(1, "a\nb"), (4, "c"), (8, "d")]);
        assert_eq!(documents(b"\r\n\r\na\r\nb\r\n\r\nc\r\n"), [(3, "a\r\nb"), (6, "c")]);
        assert_eq!(documents(b" \t\n  a \n \t \nb\n"), [(2, "  a "), (4, "b")]);
        assert_eq!(documents(b""), []);
        assert_eq!(documents(b"\n\n"), []);
        assert_eq!(documents(b"x"), [(1, "x")]);
    }

    #[test]
    fn documents_are_begun_and_ended() {
        let tokenizer = byte_level_tokenizer();
        assert_eq!(decoded(&tokenizer, b"\xef\xbb\xbfa\r\nb\r\n\r\nc", true), "a\nb<|endoftext|>c<|endoftext|>");
        assert_eq!(decoded(&tokenizer, b"a\n\nc", false), "ac");
        let tokenizer = byte_fallback_tokenizer();
        assert_eq!(decoded(&tokenizer, b"ab\n\nc d\n", true), "<s> ab</s><s> c d</s>");
    }

    #[test]
    fn bad_utf8_names_its_line_or_is_skipped() {
        let tokenizer = byte_level_tokenizer();
        let bytes = b"a\nb\n\n\nc\nd \xff e\nf\n\ng";
        let source = Source::from_bytes("t.txt", bytes.to_vec()).expect("source");
        let Err(error) = read(&source, &tokenizer, true, false) else { panic!("must fail") };
        assert!(error.to_string().starts_with("t.txt:6: the byte 0xFF is not UTF-8"), "{error}");
        let text = read(&source, &tokenizer, true, true).expect("skips");
        assert_eq!((text.documents, text.refusals.count), (2, 1));
        assert_eq!(tokenizer.decode(&text.ids.get(0..text.ids.len()), true).expect("text"), "a\nbg");
    }

    #[test]
    fn long_documents_are_cut_into_pieces_without_loss() {
        let tokenizer = byte_level_tokenizer();
        for unit in ["a line of words é\n", "no line end at all 日本 ", "日本語", "crlf line\r\n"] {
            let text = unit.repeat(300_000 / unit.len());
            assert!(piece_length(&text) <= PIECE_BYTES && piece_length(&text) > PIECE_BYTES - 32);
            let expected = text.trim_end_matches(['\r', '\n']).replace("\r\n", "\n") + "<|endoftext|>";
            assert!(decoded(&tokenizer, text.as_bytes(), true) == expected, "{unit:?}");
        }
    }
}
