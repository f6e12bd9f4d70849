//! A row with named columns, whatever file it comes from.

use serde_json::{Map, Value};

use crate::error::Result;

/// A row: column names and values.
pub(crate) type Record = Map<String, Value>;

/// Takes the rows of a file one after the other: the line (or record number) of each, counted from 1, and the row or
/// the reason why it cannot be read.
pub(crate) type Visit<'a> = dyn FnMut(usize, Result<Record, String>) -> Result<()> + 'a;

/// A column whose value must be a string.
pub(crate) fn string(record: &Record, key: &str) -> Result<String, String> {
    match record.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("\"{key}\" is {}, not a string: write it as text in quotes", type_name(other))),
        None => Err(format!("\"{key}\" is missing: every row needs the same keys as the first")),
    }
}

/// The names of a row's columns, for messages.
pub(crate) fn column_names(record: &Record) -> String {
    const SHOWN: usize = 12;
    let names: Vec<&str> = record.keys().take(SHOWN).map(String::as_str).collect();
    match record.len() {
        0 => "none".into(),
        all if all > SHOWN => format!("{} and {} more", names.join(", "), all - SHOWN),
        _ => names.join(", "),
    }
}

/// What a value is, for messages.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
