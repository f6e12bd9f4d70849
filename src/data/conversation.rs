//! Conversations as rows write them: lists of `{role, content}`, or of `{from, value}` as ShareGPT has them.

use std::borrow::Cow;

use serde_json::Value;

use super::chat::Message;
use super::record::{Record, string, type_name};
use crate::error::Result;

/// The roles by the names that ShareGPT's `from` uses.
const SPEAKERS: [(&str, &str); 7] = [
    ("human", "user"),
    ("user", "user"),
    ("gpt", "assistant"),
    ("assistant", "assistant"),
    ("model", "assistant"),
    ("system", "system"),
    ("tool", "tool"),
];

/// The messages that the column `key` lists. A table has no lists: there the field holds one written as JSON.
pub(crate) fn messages(record: &Record, key: &str) -> Result<Vec<Message>, String> {
    let list: Cow<[Value]> = match record.get(key) {
        Some(Value::Array(list)) => list.into(),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Array(list)) => list.into(),
            _ => {
                return Err(format!(
                    "\"{key}\" is text, and not a JSON list such as [{{\"role\": \"user\", \"content\": \"...\"}}, ...]"
                ));
            }
        },
        Some(other) => {
            return Err(format!("\"{key}\" is {}, not a list of {{role, content}} objects", type_name(other)));
        }
        None => return Err(format!("\"{key}\" is missing: every row needs the same keys as the first")),
    };
    if list.is_empty() {
        return Err(format!("\"{key}\" is empty: remove the row"));
    }
    list.iter().enumerate().map(|(index, item)| message(item, &format!("message {} of \"{key}\"", index + 1))).collect()
}

fn message(item: &Value, place: &str) -> Result<Message, String> {
    let Value::Object(item) = item else {
        return Err(format!("{place} is {}, not an object with role and content", type_name(item)));
    };
    let is_sharegpt = item.contains_key("from") && !item.contains_key("role");
    let (role_key, content_key) = if is_sharegpt { ("from", "value") } else { ("role", "content") };
    let mut role = string(item, role_key).map_err(|_| format!("{place} has no \"{role_key}\" in text"))?;
    if is_sharegpt {
        let Some((_, known)) = SPEAKERS.iter().find(|(speaker, _)| *speaker == role) else {
            let names = SPEAKERS.map(|(speaker, _)| speaker).join(", ");
            return Err(format!("{place} is from \"{role}\": known are {names}; rename it"));
        };
        role = known.to_string();
    }
    let content = match item.get(content_key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => join_parts(parts).ok_or_else(|| {
            format!("{place} has content that is not text: only parts of {{\"type\": \"text\"}} can be trained on")
        })?,
        _ => return Err(format!("{place} has no \"{content_key}\" in text")),
    };
    Ok(Message { role, content })
}

/// Content written as parts of `{"type": "text", "text": "..."}`.
fn join_parts(parts: &[Value]) -> Option<String> {
    parts.iter().map(|part| part.get("text")?.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<Message>, String> {
        let Value::Object(record) = serde_json::from_str(json).expect("json") else { panic!("an object") };
        messages(&record, "conversations")
    }

    #[test]
    fn sharegpt_speakers_become_roles() {
        let talk = read(
            r#"{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "h"},
                {"from": "gpt", "value": "g"}, {"from": "tool", "value": "t"}, {"from": "user", "value": "u"},
                {"from": "assistant", "value": "a"}, {"role": "narrator", "content": "n"}]}"#,
        )
        .expect("messages");
        let roles: Vec<&str> = talk.iter().map(|message| message.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool", "user", "assistant", "narrator"]);
        assert_eq!(talk.iter().map(|message| message.content.as_str()).collect::<String>(), "shgtuan");
    }

    #[test]
    fn a_list_may_be_written_as_text() {
        let talk = read(r#"{"conversations": "[{\"role\": \"user\", \"content\": \"x\"}]"}"#).expect("messages");
        assert_eq!(talk, [Message::new("user", "x")]);
        assert!(read(r#"{"conversations": "user: x"}"#).expect_err("text").contains("not a JSON list"));
    }

    #[test]
    fn faults_name_the_message() {
        for (json, what) in [
            (r#"{"conversations": [{"from": "bot", "value": "x"}]}"#, "message 1 of \"conversations\" is from \"bot\""),
            (r#"{"conversations": [{"from": "gpt", "value": 1}]}"#, "message 1 of \"conversations\" has no \"value\""),
            (r#"{"conversations": [{"value": "x"}]}"#, "message 1 of \"conversations\" has no \"role\""),
            (r#"{"conversations": ["x"]}"#, "message 1 of \"conversations\" is a string"),
            (r#"{"conversations": 3}"#, "\"conversations\" is a number"),
            (r#"{"conversations": []}"#, "\"conversations\" is empty"),
            (r#"{"messages": []}"#, "\"conversations\" is missing"),
        ] {
            let message = read(json).expect_err("bad");
            assert!(message.starts_with(what), "{message}");
        }
    }
}
