//! CSV and TSV as rows: a header line with the names of the columns, then one record a row, fields perhaps in quotes.

use serde_json::Value;

use super::record::{Record, Visit};
use super::rows::not_utf8;
use super::source::Source;
use crate::error::{Error, Result};

/// Reads all records below the header.
///
/// In CSV a field that begins with a quote must end with one (a quote inside is doubled). Many TSV files know no quotes;
/// where reading them as quotes does not work out for the whole file, they are characters like any other.
pub(crate) fn read(source: &Source, delimiter: u8, visit: &mut Visit) -> Result<()> {
    let quoting = delimiter != b'\t' || quotes_are_sound(source.bytes())?;
    let mut table = Table::new(source.bytes(), delimiter, quoting);
    let Some(header) = table.next()? else { return Ok(()) };
    let columns = columns(source, &table.fields, &header)?;
    while let Some(place) = table.next()? {
        let fault = if quoting { quoting_fault(place.raw, delimiter) } else { None };
        let record = match fault {
            Some(fault) => Err(format!(
                "{fault}: a field in quotes ends with a quote, and a quote inside it is written twice (\"\")"
            )),
            None => record(&columns, &table.fields, delimiter),
        };
        visit(place.line, record)?;
    }
    Ok(())
}

/// The names of the columns.
fn columns(source: &Source, header: &csv::ByteRecord, place: &Place) -> Result<Vec<String>> {
    let fail = |reason: String| Error::input(format!("{}: {reason}", source.place(place.line)));
    let mut names: Vec<String> = Vec::new();
    for field in header {
        let name = std::str::from_utf8(field).map_err(|e| fail(not_utf8(field, e.valid_up_to())))?.trim();
        if !name.is_empty() && names.iter().any(|other| other == name) {
            return Err(fail(format!("the header has the column \"{name}\" twice: rename or remove one")));
        }
        names.push(name.to_string());
    }
    Ok(names)
}

fn record(columns: &[String], fields: &csv::ByteRecord, delimiter: u8) -> Result<Record, String> {
    if fields.len() != columns.len() {
        return Err(format!(
            "{} fields, but the header names {} columns ({}): a text with {} in it must stand in quotes",
            fields.len(),
            columns.len(),
            columns.join(", "),
            match delimiter {
                b'\t' => "a tab".to_string(),
                other => format!("\"{}\"", char::from(other)),
            }
        ));
    }
    let mut record = Record::new();
    for (name, field) in columns.iter().zip(fields) {
        let text = std::str::from_utf8(field).map_err(|e| not_utf8(field, e.valid_up_to()))?;
        // A column without a name is the row numbers that some programs write.
        if !name.is_empty() {
            record.insert(name.clone(), Value::String(text.to_string()));
        }
    }
    Ok(record)
}

/// Whether all fields that begin with a quote end with one, in a TSV.
fn quotes_are_sound(bytes: &[u8]) -> Result<bool> {
    if !bytes.contains(&b'"') {
        return Ok(true);
    }
    let mut table = Table::new(bytes, b'\t', true);
    while let Some(place) = table.next()? {
        if quoting_fault(place.raw, b'\t').is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What is wrong with the quotes of a record, which the reader would pass over in silence.
fn quoting_fault(raw: &[u8], delimiter: u8) -> Option<&'static str> {
    let mut rest = raw.trim_ascii_end();
    loop {
        let behind = match rest.strip_prefix(b"\"") {
            Some(quoted) => {
                let mut at = 0;
                loop {
                    let Some(found) = quoted[at..].iter().position(|&byte| byte == b'"') else {
                        return Some("a quote is opened and never closed");
                    };
                    at += found + 1;
                    if quoted.get(at) != Some(&b'"') {
                        break;
                    }
                    at += 1;
                }
                match quoted.get(at) {
                    None => return None,
                    Some(&byte) if byte == delimiter => at + 2,
                    Some(_) => return Some("there is text behind a closing quote"),
                }
            }
            None => rest.iter().position(|&byte| byte == delimiter)? + 1,
        };
        rest = &rest[behind..];
    }
}

/// Where a record stands and its bytes as they are in the file.
struct Place<'a> {
    line: usize,
    raw: &'a [u8],
}

struct Table<'a> {
    bytes: &'a [u8],
    reader: csv::Reader<&'a [u8]>,
    fields: csv::ByteRecord,
    /// The byte behind the last record and the line it is in.
    behind: usize,
    line: usize,
}

impl<'a> Table<'a> {
    fn new(bytes: &'a [u8], delimiter: u8, quoting: bool) -> Self {
        let reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(quoting)
            .has_headers(false)
            .flexible(true)
            .from_reader(bytes);
        Self { bytes, reader, fields: csv::ByteRecord::new(), behind: 0, line: 1 }
    }

    /// Reads the next record into `fields`; `None` at the end.
    fn next(&mut self) -> Result<Option<Place<'a>>> {
        let more = self.reader.read_byte_record(&mut self.fields).map_err(|e| Error::input(e.to_string()))?;
        if !more {
            return Ok(None);
        }
        let end = (self.reader.position().byte() as usize).clamp(self.behind, self.bytes.len());
        let all = &self.bytes[self.behind..end];
        let blank = all.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        let line_ends = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count();
        let line = self.line + line_ends(&all[..blank]);
        self.line += line_ends(all);
        self.behind = end;
        Ok(Some(Place { line, raw: &all[blank..] }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::records;
    use super::*;

    fn rows(name: &str, bytes: &[u8]) -> Result<Vec<(usize, Result<Record, String>)>> {
        let source = Source::from_bytes(name.to_string(), bytes.to_vec())?;
        let mut found = Vec::new();
        records::read(&source, &mut |line, row| {
            found.push((line, row));
            Ok(())
        })?;
        Ok(found)
    }

    /// Each row as its line and its values, or the reason why it is bad.
    fn plain(name: &str, bytes: &[u8]) -> Vec<String> {
        let value = |value: &Value| value.as_str().expect("a string").to_string();
        rows(name, bytes)
            .expect("rows")
            .into_iter()
            .map(|(line, row)| match row {
                Ok(record) => format!("{line}: {}", record.values().map(value).collect::<Vec<_>>().join("|")),
                Err(reason) => format!("{line}! {reason}"),
            })
            .collect()
    }

    #[test]
    fn quotes_lines_and_marks_are_understood() {
        let csv = b"\xef\xbb\xbftext, label\r\n\"a, \"\"b\"\"\r\nc\",1\r\n\r\n\nd 5\" e,\r\n\"\",x";
        assert_eq!(plain("t.csv", csv), ["2: a, \"b\"\r\nc|1", "6: d 5\" e|", "7: |x"]);
        let first = &rows("t.CSV", csv).expect("rows")[0].1;
        assert_eq!(first.as_ref().expect("row")["label"], "1");
        assert_eq!(plain("t.csv", b",text\n0,a\n1,b\n"), ["2: a", "3: b"]);
        assert_eq!(plain("t.csv", b"text\na\nb\n"), ["2: a", "3: b"]);
    }

    #[test]
    fn the_header_tells_the_delimiter() {
        assert_eq!(plain("t.csv", b"label;text\n1;a, b\n"), ["2: 1|a, b"]);
        assert_eq!(plain("t.csv", b"label\ttext\n1\ta, b\n"), ["2: 1|a, b"]);
        assert_eq!(plain("t.tsv", b"label\ttext, more\n1\ta, b\n"), ["2: 1|a, b"]);
        assert_eq!(plain("t.tsv", b"label,text\n1,a\n"), ["2: 1|a"]);
    }

    #[test]
    fn bad_records_say_where_and_what() {
        let bad = plain("t.csv", b"text,label\na,b,1\nc\n\"d\"e,1\nf,\"\xff\"\ng,2\n\"h,2\n");
        assert!(bad[0].starts_with("2! 3 fields, but the header names 2 columns (text, label)"), "{}", bad[0]);
        assert!(bad[1].starts_with("3! 1 fields"), "{}", bad[1]);
        assert!(bad[2].starts_with("4! there is text behind a closing quote"), "{}", bad[2]);
        assert!(bad[3].starts_with("5! the byte 0xFF is not UTF-8"), "{}", bad[3]);
        assert_eq!(bad[4], "6: g|2");
        assert!(bad[5].starts_with("7! a quote is opened and never closed"), "{}", bad[5]);
        let error = rows("t.csv", b"\n\na,a\n1,2\n").expect_err("twice").to_string();
        assert!(error.starts_with("t.csv:3: the header has the column \"a\" twice"), "{error}");
        assert!(rows("t.csv", b"a,\xff\n1,2\n").expect_err("UTF-8").to_string().contains("0xFF is not UTF-8"));
        assert!(rows("t.csv", b"a,b\n").expect("only a header").is_empty());
    }

    #[test]
    fn quotes_of_a_tsv_may_be_mere_characters() {
        assert_eq!(plain("t.tsv", b"a\tb\n\"x\ty\"\t1\n"), ["2: x\ty|1"]);
        assert_eq!(
            plain("t.tsv", b"a\tb\n\"x\" is\t1\n\"y\t2\n\"z\"\t3\n"),
            ["2: \"x\" is|1", "3: \"y|2", "4: \"z\"|3"]
        );
    }
}
