//! The `tojson` filter as chat templates expect it: what Python's `json.dumps(..., ensure_ascii=False)` writes.
//!
//! The template engine's own filter escapes HTML; this one does not, and it knows `indent` and `sort_keys`.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// The filter: `{{ tool | tojson(indent=4) }}`.
pub(crate) fn tojson(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<Value>>("indent")?,
    };
    let indent = match indent {
        Some(indent) if !indent.is_none() && !indent.is_undefined() => Some(usize::try_from(indent)?),
        _ => None,
    };
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let _ = options.get::<Option<Value>>("separators")?;
    options.assert_all_used()?;
    let mut text = String::new();
    write(value, Style { indent, sort_keys, ascii }, 0, &mut text)?;
    Ok(Value::from_safe_string(text))
}

#[derive(Clone, Copy)]
struct Style {
    indent: Option<usize>,
    sort_keys: bool,
    ascii: bool,
}

fn write(value: &Value, style: Style, depth: usize, text: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => text.push_str("null"),
        ValueKind::Bool | ValueKind::Number => text.push_str(&value.to_string()),
        ValueKind::String => write_string(value.as_str().unwrap_or_default(), style, text),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<(Option<String>, Value)> = value.try_iter()?.map(|item| (None, item)).collect();
            write_members(&items, ['[', ']'], style, depth, text)?;
        }
        ValueKind::Map => {
            let mut entries = Vec::new();
            for key in value.try_iter()? {
                entries.push((Some(key.to_string()), value.get_item(&key)?));
            }
            if style.sort_keys {
                entries.sort_by(|a, b| a.0.cmp(&b.0));
            }
            write_members(&entries, ['{', '}'], style, depth, text)?;
        }
        other => {
            return Err(Error::new(ErrorKind::InvalidOperation, format!("cannot write {other} as JSON")));
        }
    }
    Ok(())
}

/// The members of a list (no keys) or an object between brackets.
fn write_members(
    members: &[(Option<String>, Value)],
    [open, close]: [char; 2],
    style: Style,
    depth: usize,
    text: &mut String,
) -> Result<(), Error> {
    let new_line = |depth: usize, text: &mut String| {
        if let Some(indent) = style.indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    text.push(open);
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            text.push_str(if style.indent.is_some() { "," } else { ", " });
        }
        new_line(depth + 1, text);
        if let Some(key) = key {
            write_string(key, style, text);
            text.push_str(": ");
        }
        write(value, style, depth + 1, text)?;
    }
    if !members.is_empty() {
        new_line(depth, text);
    }
    text.push(close);
    Ok(())
}

fn write_string(string: &str, style: Style, text: &mut String) {
    let written = serde_json::Value::from(string).to_string();
    for c in written.chars() {
        if !style.ascii || c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> String {
        let mut environment = minijinja::Environment::new();
        environment.add_filter("tojson", tojson);
        let list = vec![Value::from(1), Value::from("<é>'")];
        let empty = std::collections::BTreeMap::<String, Value>::new();
        let value = minijinja::context! { a => list, b => Value::from(empty), c => () };
        environment.render_str(template, minijinja::context! { v => value }).expect("render")
    }

    #[test]
    fn as_python_writes_it() {
        assert_eq!(render("{{ v|tojson }}"), r#"{"a": [1, "<é>'"], "b": {}, "c": null}"#);
        assert_eq!(render("{{ v|tojson(indent=none) }}"), render("{{ v|tojson }}"));
        assert_eq!(
            render("{{ v|tojson(indent=2) }}"),
            "{\n  \"a\": [\n    1,\n    \"<é>'\"\n  ],\n  \"b\": {},\n  \"c\": null\n}"
        );
        assert_eq!(render("{{ 'é😀'|tojson(ensure_ascii=true) }}"), r#""\u00e9\ud83d\ude00""#);
    }
}
