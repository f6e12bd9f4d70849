//! JSON as rows: one object a line, or one list of objects. Reads one row at a time.

use serde_json::Value;

use super::record::{Record, Visit};
use super::rows::not_utf8;
use super::source::Source;
use crate::error::{Error, Result};

/// The hint for a line that looks like plain text in a file whose name promises JSON.
const NOT_TEXT: &str = "; plain text is read from files whose names end otherwise, such as .txt";

/// Reads one object a line; blank lines are passed over.
pub(crate) fn read_lines(source: &Source, visit: &mut Visit) -> Result<()> {
    for (index, line) in source.bytes().split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if !line.is_empty() {
            visit(index + 1, parse_line(line))?;
        }
    }
    Ok(())
}

fn parse_line(line: &[u8]) -> Result<Record, String> {
    let text = std::str::from_utf8(line).map_err(|e| not_utf8(line, e.valid_up_to()))?;
    let value: Value = serde_json::from_str(text).map_err(|e| {
        let hint = if text.starts_with('{') { "" } else { NOT_TEXT };
        format!("not valid JSON ({} at column {}): each line must be one whole JSON object{hint}", what(&e), e.column())
    })?;
    object(value)
}

fn object(value: Value) -> Result<Record, String> {
    match value {
        Value::Object(record) => Ok(record),
        _ => Err("not a JSON object: each row must be one, such as {\"text\": \"...\"}".into()),
    }
}

/// What a JSON error says, without its place.
fn what(error: &serde_json::Error) -> String {
    error.to_string().replace(&format!(" at line {} column {}", error.line(), error.column()), "")
}

/// Reads one list of objects. Behind a mistake in the JSON itself nothing can be read, so it stops even where bad rows
/// are skipped.
pub(crate) fn read_array(source: &Source, visit: &mut Visit) -> Result<()> {
    let bytes = source.bytes();
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let at = e.valid_up_to();
        Error::input(format!("{}: {}", source.place(1 + line_ends(&bytes[..at])), not_utf8(bytes, at)))
    })?;
    let broken = |line: usize, why: &str| {
        Err(Error::input(format!("{}: not a valid JSON list ({why}): write [{{...}}, {{...}}]", source.place(line))))
    };
    let mut rest = text;
    let mut line = 1;
    let mut advance = |rest: &mut &str, length: usize| {
        line += line_ends(&rest.as_bytes()[..length]);
        *rest = &rest[length..];
        line
    };
    let blanks = |rest: &str| rest.len() - rest.trim_ascii_start().len();
    let opening = text.find('[').map_or(0, |at| at + 1);
    advance(&mut rest, opening);
    loop {
        let length = blanks(rest);
        let start = advance(&mut rest, length);
        if let Some(behind) = rest.strip_prefix(']') {
            return if behind.trim_ascii().is_empty() { Ok(()) } else { broken(start, "there is text behind its end") };
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => visit(start, object(value))?,
            Some(Err(e)) => return broken(start + e.line() - 1, &format!("{} at column {}", what(&e), e.column())),
            None => return broken(start, "its closing bracket is missing"),
        }
        let length = values.byte_offset();
        advance(&mut rest, length);
        let length = blanks(rest);
        let end = advance(&mut rest, length);
        match rest.bytes().next() {
            Some(b',') => {
                advance(&mut rest, 1);
            }
            Some(b']') => {}
            Some(_) => return broken(end, "a comma is missing between two rows"),
            None => return broken(end, "its closing bracket is missing"),
        }
    }
}

fn line_ends(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::super::records;
    use super::*;

    fn rows(text: &str) -> Result<Vec<(usize, Result<Record, String>)>> {
        let source = Source::from_bytes("r.json", text.as_bytes().to_vec())?;
        let mut found = Vec::new();
        records::read(&source, &mut |line, row| {
            found.push((line, row));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn lists_and_lines_give_the_same_rows() {
        let list = rows("\u{feff} [\n{\"a\": 1},\n\n {\"a\":\n [2, \"]\"]} , 7, {\"b\": null}\n]\n").expect("rows");
        let lines: Vec<usize> = list.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 4, 5, 5]);
        assert_eq!(list[1].1.as_ref().expect("row")["a"][1], "]");
        assert!(list[2].1.as_ref().expect_err("a number").contains("not a JSON object"));
        let single = rows("{\"a\": 1}\r\n\n{\"a\": [2, \"]\"]}\n7\n{\"b\": null}").expect("rows");
        assert_eq!(single.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4, 5]);
        for (one, other) in list.iter().zip(&single) {
            assert_eq!(one.1, other.1);
        }
        assert!(rows("[]").expect("no rows").is_empty());
    }

    #[test]
    fn a_broken_list_names_its_line() {
        for (text, what) in [
            ("[\n{\"a\": 1}", "r.json:2: not a valid JSON list (its closing bracket is missing)"),
            ("[{\"a\": 1},\n", "r.json:2: not a valid JSON list (its closing bracket is missing)"),
            ("[{\"a\": 1}\n{\"a\": 1}]", "r.json:2: not a valid JSON list (a comma is missing between two rows)"),
            ("[{\"a\": 1},\n{\"a\": }]", "r.json:2: not a valid JSON list (expected value at column 7)"),
            ("[{\"a\": 1}]\nmore", "r.json:1: not a valid JSON list (there is text behind its end)"),
        ] {
            let message = rows(text).expect_err("broken").to_string();
            assert!(message.starts_with(what), "{message}");
        }
        let bad = Source::from_bytes("r.json", b"[{\"a\":\n \"\xff\"}]".to_vec()).expect("source");
        let message = records::read(&bad, &mut |_, _| Ok(())).expect_err("not UTF-8").to_string();
        assert!(message.starts_with("r.json:2: the byte 0xFF is not UTF-8"), "{message}");
    }
}
