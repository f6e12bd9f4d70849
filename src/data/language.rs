//! Rows for language modelling: what their columns say, and which part of it is trained on.
//!
//! Five kinds of rows, decided by the first good one: `{text}`, `{prompt, completion}`, `{messages}`, `{conversations}`
//! (ShareGPT) and `{instruction, input, output}` (Alpaca). Other columns are ignored. Tokenisation is done elsewhere
//! (`rows`).

use std::ops::Range;

use serde_json::Value;

use super::chat::Message;
use super::conversation;
use super::record::{Record, column_names, string};
use super::records;
use super::rows::{RowCollector, RowText, Segment, Target};
use super::source::Source;
use super::tokenizer::Tokenizer;
use crate::error::Result;

/// What the rows of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `{text}`
    Text,
    /// `{prompt, completion}`, both strings
    PromptCompletion,
    /// `{messages: [{role, content}]}`, or prompt and completion as such lists
    Messages,
    /// `{conversations: [{from, value}]}`
    Conversations,
    /// `{instruction, input, output}`; the input may be missing or empty
    Instruction,
}

impl Kind {
    /// As the report calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "{text}",
            Self::PromptCompletion => "{prompt, completion}",
            Self::Messages => "{messages}",
            Self::Conversations => "{conversations}",
            Self::Instruction => "{instruction, input, output}",
        }
    }
}

/// What was found out about a file's rows besides the rows.
pub(crate) struct Findings {
    /// `None` when no row was good.
    pub kind: Option<Kind>,
    /// Conversations in which only the last answer is trained on, because the template rewrites earlier turns.
    pub last_answer_only: usize,
}

/// Reads all rows of `source` into `rows`. `mask_prompt` trains on answers only.
pub(crate) fn read(
    source: &Source,
    tokenizer: &Tokenizer,
    mask_prompt: bool,
    rows: &mut RowCollector,
) -> Result<Findings> {
    let mut findings = Findings { kind: None, last_answer_only: 0 };
    records::read(source, &mut |line, record| match record
        .and_then(|record| read_row(&record, tokenizer, mask_prompt, findings.kind))
    {
        Ok((kind, row)) => {
            findings.kind = Some(kind);
            findings.last_answer_only += usize::from(row.last_answer_only);
            rows.push(RowText { line, segments: row.segments, with_prefix: row.with_prefix, with_end: row.with_end })
        }
        Err(reason) => rows.refuse(line, &reason),
    })?;
    Ok(findings)
}

/// A row as its columns describe it.
struct ReadRow {
    segments: Vec<Segment>,
    with_prefix: bool,
    with_end: bool,
    last_answer_only: bool,
}

/// Reads one row. The error is the reason why it is refused.
fn read_row(
    record: &Record,
    tokenizer: &Tokenizer,
    mask_prompt: bool,
    kind: Option<Kind>,
) -> Result<(Kind, ReadRow), String> {
    let kind = match kind {
        Some(kind) => kind,
        None => kind_of(record)?,
    };
    let row = match kind {
        Kind::Text => text_row(string(record, "text")?),
        Kind::PromptCompletion => {
            prompt_completion_row(string(record, "prompt")?, string(record, "completion")?, mask_prompt)
        }
        Kind::Messages => {
            let (messages, first_answer) = conversation(record)?;
            messages_row(tokenizer, &messages, first_answer, mask_prompt)?
        }
        Kind::Conversations => {
            messages_row(tokenizer, &conversation::messages(record, "conversations")?, 0, mask_prompt)?
        }
        Kind::Instruction => instruction_row(record, tokenizer, mask_prompt)?,
    };
    Ok((kind, row))
}

fn kind_of(record: &Record) -> Result<Kind, String> {
    let has = |key: &str| record.contains_key(key);
    if has("messages") {
        return Ok(Kind::Messages);
    }
    if has("conversations") {
        return Ok(Kind::Conversations);
    }
    if let (Some(prompt), true) = (record.get("prompt"), has("completion")) {
        return Ok(if is_list(prompt) { Kind::Messages } else { Kind::PromptCompletion });
    }
    if has("instruction") && has("output") {
        return Ok(Kind::Instruction);
    }
    if has("text") {
        return Ok(Kind::Text);
    }
    let found = if record.is_empty() { "no columns".to_string() } else { format!("only {}", column_names(record)) };
    Err(format!(
        "found {found}: a row needs text, or prompt and completion, or messages, or conversations, or instruction and \
         output; rename the columns"
    ))
}

/// Whether a prompt is a list of messages, which a table writes as text.
fn is_list(prompt: &Value) -> bool {
    prompt.is_array() || prompt.as_str().is_some_and(|text| text.trim_start().starts_with("[{"))
}

/// The messages of a row and from which one on answers are trained on.
fn conversation(record: &Record) -> Result<(Vec<Message>, usize), String> {
    if record.contains_key("messages") || !record.contains_key("prompt") {
        return Ok((conversation::messages(record, "messages")?, 0));
    }
    let mut all = conversation::messages(record, "prompt")?;
    let first_answer = all.len();
    all.extend(conversation::messages(record, "completion")?);
    Ok((all, first_answer))
}

/// `{instruction, input, output}`: through the chat template as user and assistant; without one as the Stanford Alpaca
/// project writes them (<https://github.com/tatsu-lab/stanford_alpaca>). The output and the end token are trained on.
fn instruction_row(record: &Record, tokenizer: &Tokenizer, mask_prompt: bool) -> Result<ReadRow, String> {
    let instruction = string(record, "instruction")?;
    let output = string(record, "output")?;
    let input = match record.get("input") {
        None | Some(Value::Null) => String::new(),
        Some(_) => string(record, "input")?,
    };
    if tokenizer.chat_template().is_some() {
        let request = if input.is_empty() { instruction } else { format!("{instruction}\n\n{input}") };
        return messages_row(
            tokenizer,
            &[Message::new("user", request), Message::new("assistant", output)],
            0,
            mask_prompt,
        );
    }
    let prompt = if input.is_empty() {
        format!(
            "Below is an instruction that describes a task. Write a response that appropriately completes the \
             request.\n\n### Instruction:\n{instruction}\n\n### Response:"
        )
    } else {
        format!(
            "Below is an instruction that describes a task, paired with an input that provides further context. Write a \
             response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### \
             Input:\n{input}\n\n### Response:"
        )
    };
    Ok(prompt_completion_row(prompt, output, mask_prompt))
}

/// `{text}`: the tokenizer's begin tokens, the text, the end token; all of it is trained on.
fn text_row(text: String) -> ReadRow {
    // An empty text is refused: an end token alone teaches nothing.
    let with_end = !text.is_empty();
    ReadRow {
        segments: vec![Segment { text, target: Target::All }],
        with_prefix: true,
        with_end,
        last_answer_only: false,
    }
}

/// `{prompt, completion}`: the tokenizer's begin tokens, the prompt, the completion, the end token.
///
/// Prompt and completion are tokenised separately and joined as ids. So the prompt's ids are exactly what generation
/// is given, and the mask cannot fall inside a token. A space between the two must be written in the data. (Tokenizers
/// that put a space before every text, as Llama 2's does, put one before the completion too.)
fn prompt_completion_row(prompt: String, completion: String, mask_prompt: bool) -> ReadRow {
    let prompt_target = if mask_prompt { Target::None } else { Target::All };
    ReadRow {
        segments: vec![
            Segment { text: prompt, target: prompt_target },
            Segment { text: completion, target: Target::All },
        ],
        with_prefix: true,
        with_end: true,
        last_answer_only: false,
    }
}

/// `{messages}`: the whole conversation as the template writes it; with `mask_prompt` only the assistant's turns from
/// message `first_answer` on are trained on.
///
/// A turn's span is what `messages[..=i]` adds to `messages[..i]` with the generation prompt. Templates that rewrite
/// earlier turns break this for all but the last answer, which then is the only one trained on (and the report says so).
/// Where even that cannot be found the row is refused: a wrong mask would train on the wrong words in silence.
fn messages_row(
    tokenizer: &Tokenizer,
    messages: &[Message],
    first_answer: usize,
    mask_prompt: bool,
) -> Result<ReadRow, String> {
    let whole = tokenizer.render_chat(messages, false).map_err(|e| e.to_string())?;
    let with_prefix = tokenizer.chat_template().is_none();
    let row = |target, last_answer_only| ReadRow {
        segments: vec![Segment { text: whole.clone(), target }],
        with_prefix,
        with_end: false,
        last_answer_only,
    };
    if !mask_prompt {
        return Ok(row(Target::All, false));
    }
    let answers: Vec<usize> =
        (first_answer..messages.len()).filter(|&index| messages[index].role == "assistant").collect();
    let Some(&last) = answers.last() else {
        return Err("no message has the role \"assistant\", so there is no answer to train on: add one, or set \
                    mask_prompt to false to train on the whole conversation"
            .into());
    };
    let spans: Option<Vec<_>> = answers.iter().map(|&index| turn_span(tokenizer, messages, index, &whole)).collect();
    if let Some(spans) = spans {
        return Ok(row(Target::Spans(spans), false));
    }
    match turn_span(tokenizer, messages, last, &whole) {
        Some(span) => Ok(row(Target::Spans(vec![span]), true)),
        None => {
            Err("the chat template writes the conversation so that the answer cannot be told from the prompt: set \
                     mask_prompt to false to train on the whole conversation, or give the model another chat template"
                .into())
        }
    }
}

/// The bytes of `whole` that turn `index` added, or `None` when the texts do not continue each other.
fn turn_span(tokenizer: &Tokenizer, messages: &[Message], index: usize, whole: &str) -> Option<Range<usize>> {
    let prompt = match index {
        // Templates look at the first message, so nothing can be rendered before it.
        0 => String::new(),
        _ => tokenizer.render_chat(&messages[..index], true).ok()?,
    };
    let turn = tokenizer.render_chat(&messages[..=index], false).ok()?;
    (whole.starts_with(&turn) && turn.starts_with(&prompt) && prompt.len() < turn.len())
        .then_some(prompt.len()..turn.len())
}

#[cfg(test)]
mod tests {
    use super::super::chat::tests::QWEN3;
    use super::super::rows::RowCollector;
    use super::super::split::Split;
    use super::super::testing::{
        byte_fallback_tokenizer, byte_level_tokenizer, chat_tokenizer, chat_tokenizer_with, shared_folder,
    };
    use super::*;

    fn load_with(tokenizer: &Tokenizer, text: &str, mask: bool, max: usize, skip: bool) -> Result<(Split, Findings)> {
        let source = Source::from_bytes("rows.jsonl", text.as_bytes().to_vec())?;
        let mut rows = RowCollector::new(tokenizer, &source, max, skip);
        let findings = read(&source, tokenizer, mask, &mut rows)?;
        Ok((rows.finish()?.0, findings))
    }

    fn load(tokenizer: &Tokenizer, text: &str) -> Split {
        load_with(tokenizer, text, true, 512, false).expect("rows").0
    }

    fn error(tokenizer: &Tokenizer, text: &str) -> String {
        match load_with(tokenizer, text, true, 16, false) {
            Ok(_) => panic!("{text} must be refused"),
            Err(e) => e.to_string(),
        }
    }

    /// The text of a row with its targets between brackets.
    fn marked(tokenizer: &Tokenizer, split: &Split, index: usize) -> String {
        let row = split.row(index);
        let mut text = String::new();
        let mut start = 0;
        while start < row.ids.len() {
            let flag = row.targets[start];
            let end = (start..row.ids.len()).find(|&i| row.targets[i] != flag).unwrap_or(row.ids.len());
            let piece = tokenizer.decode(&row.ids[start..end], false).expect("text");
            text += &if flag { format!("⟦{piece}⟧") } else { piece };
            start = end;
        }
        text
    }

    #[test]
    fn text_rows_learn_everything() {
        let tokenizer = byte_level_tokenizer();
        let split = load(&tokenizer, "\u{feff}\r\n{\"text\": \"abc\"}\r\n\n{\"text\": \"é\", \"label\": 3}");
        assert_eq!(split.len(), 2);
        assert_eq!(marked(&tokenizer, &split, 0), "a⟦bc<|endoftext|>⟧");
        assert_eq!(split.row(1).ids.len(), 3);
        let tokenizer = byte_fallback_tokenizer();
        let split = load(&tokenizer, "{\"text\": \"a b\"}");
        assert_eq!(marked(&tokenizer, &split, 0), "<s>⟦a b</s>⟧");
    }

    #[test]
    fn prompts_are_masked_or_not() {
        let tokenizer = byte_level_tokenizer();
        let row = "{\"prompt\": \"1+1=\", \"completion\": \"2 é\"}";
        assert_eq!(marked(&tokenizer, &load(&tokenizer, row), 0), "1+1=⟦2 é<|endoftext|>⟧");
        let (split, findings) = load_with(&tokenizer, row, false, 512, false).expect("rows");
        assert_eq!(findings.kind, Some(Kind::PromptCompletion));
        assert_eq!(marked(&tokenizer, &split, 0), "1⟦+1=2 é<|endoftext|>⟧");
    }

    #[test]
    fn chat_turns_are_exact() {
        let tokenizer = chat_tokenizer();
        let row = r#"{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U é"},
            {"role": "assistant", "content": "A 😀 "}, {"role": "user", "content": "V"},
            {"role": "assistant", "content": [{"type": "text", "text": "B"}, {"type": "text", "text": "!"}]}]}"#
            .replace('\n', " ");
        let split = load(&tokenizer, &row);
        assert_eq!(
            marked(&tokenizer, &split, 0),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU é<|im_end|>\n<|im_start|>assistant\n⟦A 😀 \
             <|im_end|>⟧\n<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n⟦B!<|im_end|>⟧\n"
        );
        let prompt = r#"{"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"}], "completion": [{"role": "assistant", "content": "d"}]}"#
            .replace('\n', " ");
        let text = marked(&tokenizer, &load(&tokenizer, &prompt), 0);
        assert!(text.ends_with("assistant\n⟦d<|im_end|>⟧\n") && text.matches('⟦').count() == 1, "{text}");
    }

    #[test]
    fn llama_style_turns_are_exact() {
        let config = br#"{"bos_token": "<s>", "eos_token": "</s>", "chat_template": "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"}"#;
        let json = super::super::testing::byte_fallback_tokenizer_json();
        let tokenizer = Tokenizer::from_parts(&json, Some(config), None, &[]).expect("tokenizer");
        let row = r#"{"messages": [{"role": "user", "content": "hi é"}, {"role": "assistant", "content": "日 yo"}, {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}"#;
        let split = load(&tokenizer, row);
        let row = split.row(0);
        // One BOS where the template writes it, none from the post-processor.
        assert_eq!(row.ids.iter().filter(|&&id| id == 1).count(), 2);
        let mut spans = Vec::new();
        for (id, target) in row.ids.iter().zip(&row.targets) {
            match (target, spans.last_mut()) {
                (true, Some((true, ids))) | (false, Some((false, ids))) => Vec::push(ids, *id),
                _ => spans.push((*target, vec![*id])),
            }
        }
        let trained: Vec<String> = spans
            .iter()
            .filter(|(target, _)| *target)
            .map(|(_, ids)| tokenizer.decode(&[&[1], ids.as_slice()].concat(), false).expect("text"))
            .collect();
        assert_eq!(trained, ["<s> 日 yo </s>", "<s> y </s>"]);
    }

    #[test]
    fn generation_is_given_what_training_saw() {
        for tokenizer in [chat_tokenizer(), byte_level_tokenizer(), byte_fallback_tokenizer()] {
            let row = r#"{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}"#;
            let row = load(&tokenizer, row).row(0);
            let prompt = tokenizer.encode_chat(&[Message::new("user", "hi")], true).expect("ids");
            assert_eq!(row.ids[..prompt.len()], prompt);
            assert_eq!(row.targets.iter().position(|&target| target), Some(prompt.len()));
        }
    }

    #[test]
    fn a_rewriting_template_learns_the_last_answer_only() {
        let tokenizer = chat_tokenizer_with(QWEN3);
        let row = r#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "v"}, {"role": "assistant", "content": "b"}]}"#;
        let (split, findings) = load_with(&tokenizer, row, true, 512, false).expect("rows");
        assert_eq!(findings.last_answer_only, 1);
        let text = marked(&tokenizer, &split, 0);
        assert!(text.ends_with("assistant\n⟦<think>\n\n</think>\n\nb<|im_end|>⟧\n"), "{text}");
        assert_eq!(text.matches('⟦').count(), 1);
    }

    #[test]
    fn an_unmaskable_template_is_refused() {
        let tokenizer =
            chat_tokenizer_with("{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}");
        let row = r#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}"#;
        assert!(error(&tokenizer, row).contains("cannot be told from the prompt"));
        assert!(load_with(&tokenizer, row, false, 512, false).is_ok());
        let tokenizer = chat_tokenizer_with("{{ raise_exception('no talk') }}");
        let message = error(&tokenizer, row);
        assert!(message.starts_with("rows.jsonl:1: ") && message.contains("no talk"), "{message}");
    }

    #[test]
    fn without_a_template_the_plain_format_is_masked() {
        for (tokenizer, begin, end) in
            [(byte_level_tokenizer(), "", "<|endoftext|>"), (byte_fallback_tokenizer(), "<s>", "</s>")]
        {
            let row = r#"{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}"#;
            let text = marked(&tokenizer, &load(&tokenizer, row), 0);
            let text = text.replace("<0x", "");
            assert!(text.starts_with(begin), "{text}");
            assert!(text.contains(&format!("⟦yo{end}⟧")), "{text}");
        }
    }

    #[test]
    fn bad_rows_say_where_and_what() {
        let tokenizer = byte_level_tokenizer();
        let good = "{\"prompt\": \"a\", \"completion\": \"b\"}\n\n";
        for (row, what) in [
            ("{\"prompt\": \"a\"}", "rows.jsonl:3: \"completion\" is missing"),
            ("{\"prompt\": 1, \"completion\": \"b\"}", "rows.jsonl:3: \"prompt\" is a number"),
            ("{\"prompt\": \"a\", ", "rows.jsonl:3: not valid JSON"),
            ("[1]", "rows.jsonl:3: not a JSON object"),
            ("{\"prompt\": \"a long prompt of more\", \"completion\": \"b\"}", "rows.jsonl:3: the prompt fills all 16"),
        ] {
            let message = error(&tokenizer, &format!("{good}{row}\n"));
            assert!(message.starts_with(what), "{message}");
            let (split, _) = load_with(&tokenizer, &format!("{good}{row}\n{good}"), true, 16, true).expect("skips");
            assert_eq!(split.len(), 2);
        }
        assert!(error(&tokenizer, "{\"question\": 1, \"answer\": 2}").contains("only question, answer"));
        assert!(error(&tokenizer, "{\"instruction\": 1, \"output\": 2}").contains("\"instruction\" is a number"));
        assert!(error(&tokenizer, "{}").contains("no columns"));
        assert!(error(&tokenizer, "{\"text\": \"\"}").contains("nothing in this row"));
        assert!(error(&tokenizer, "{\"messages\": []}").contains("is empty"));
        assert!(error(&tokenizer, "{\"messages\": [{\"role\": \"user\", \"content\": null}]}").contains("message 1"));
        let only_user = "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}";
        assert!(error(&tokenizer, only_user).contains("no message has the role \"assistant\""));
        let no_end = Tokenizer::from_parts(&super::super::testing::byte_level_tokenizer_json(), None, None, &[]);
        let message = error(&no_end.expect("tokenizer"), "{\"prompt\": \"a\", \"completion\": \"\"}");
        assert!(message.contains("nothing in this row"), "{message}");
    }

    #[test]
    fn instructions_are_written_as_alpaca_or_by_the_template() {
        let tokenizer = byte_level_tokenizer();
        let rows = "{\"instruction\": \"Add.\", \"input\": \"1 2\", \"output\": \"3\", \"text\": \"all\"}\n\
            {\"instruction\": \"Sing.\", \"output\": \"La\"}\n{\"instruction\": \"A\", \"input\": \"\", \"output\": \"B\"}";
        let (split, findings) = load_with(&tokenizer, rows, true, 512, false).expect("rows");
        assert_eq!(findings.kind, Some(Kind::Instruction));
        assert_eq!(
            marked(&tokenizer, &split, 0),
            "Below is an instruction that describes a task, paired with an input that provides further context. Write a \
             response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### \
             Response:⟦3<|endoftext|>⟧"
        );
        let sing = "Below is an instruction that describes a task. Write a response that appropriately completes the \
            request.\n\n### Instruction:\nSing.\n\n### Response:⟦La<|endoftext|>⟧";
        assert_eq!(marked(&tokenizer, &split, 1), sing);
        assert_eq!(marked(&tokenizer, &split, 2), sing.replace("Sing.", "A").replace("La", "B"));
        let tokenizer = chat_tokenizer();
        let split = load(&tokenizer, rows);
        let text = marked(&tokenizer, &split, 0);
        assert!(text.contains("user\nAdd.\n\n1 2<|im_end|>\n<|im_start|>assistant\n⟦3<|im_end|>⟧"), "{text}");
        assert!(marked(&tokenizer, &split, 1).contains("user\nSing.<|im_end|>"));
    }

    #[test]
    fn sharegpt_is_a_conversation() {
        let tokenizer = chat_tokenizer();
        let talk =
            "{\"conversations\": [{\"from\": \"human\", \"value\": \"h\"}, {\"from\": \"gpt\", \"value\": \"g\"}]}";
        let (split, findings) = load_with(&tokenizer, talk, true, 512, false).expect("rows");
        assert_eq!(findings.kind, Some(Kind::Conversations));
        let messages = "{\"messages\": [{\"role\": \"user\", \"content\": \"h\"}, {\"role\": \"assistant\", \
            \"content\": \"g\"}]}";
        assert_eq!(split.row(0), load(&tokenizer, messages).row(0));
        assert!(error(&tokenizer, "{\"conversations\": [{\"from\": \"x\", \"value\": \"\"}]}").contains("from \"x\""));
    }

    #[test]
    fn a_table_means_the_same_as_json() {
        let tokenizer = chat_tokenizer();
        let same = |csv: &str, json: &str| {
            let source = Source::from_bytes("rows.csv", csv.as_bytes().to_vec()).expect("source");
            let mut rows = RowCollector::new(&tokenizer, &source, 512, false);
            read(&source, &tokenizer, true, &mut rows).expect("rows");
            let (split, json) = (rows.finish().expect("split").0, load(&tokenizer, json));
            assert_eq!(split.len(), json.len());
            (0..json.len()).for_each(|index| assert_eq!(split.row(index), json.row(index)));
        };
        same("id,text\n1,\"a, b\"\n2,c\n", "{\"text\": \"a, b\"}\n{\"text\": \"c\"}");
        same("prompt;completion\na;b\n", "{\"prompt\": \"a\", \"completion\": \"b\"}");
        same("instruction,input,output\na,,b\n", "{\"instruction\": \"a\", \"output\": \"b\"}");
        let talk = "[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]";
        let row = format!("{{\"messages\": {talk}}}");
        same(&format!("messages\n\"{}\"\n", talk.replace('"', "\"\"")), &row);
        same(&format!("x\tconversations\n1\t\"{}\"\n", talk.replace('"', "\"\"")), &row);
        let source = Source::from_bytes("rows.csv", b"a,b\n1,2\n".to_vec()).expect("source");
        let mut rows = RowCollector::new(&tokenizer, &source, 512, false);
        let Err(error) = read(&source, &tokenizer, true, &mut rows) else { panic!("must fail") };
        assert!(error.to_string().starts_with("rows.csv:2: found only a, b: a row needs text, or"), "{error}");
    }

    #[test]
    fn bad_utf8_names_its_line() {
        let tokenizer = byte_level_tokenizer();
        let bytes = b"{\"text\": \"ab\"}\n\n{\"text\": \"\xe9t\"}\n".to_vec();
        let source = Source::from_bytes("r", bytes).expect("source");
        let mut rows = RowCollector::new(&tokenizer, &source, 16, false);
        let Err(error) = read(&source, &tokenizer, true, &mut rows) else { panic!("must fail") };
        assert!(error.to_string().starts_with("r:3: the byte 0xE9 is not UTF-8"), "{error}");
    }

    #[test]
    fn cut_rows_are_counted() {
        let tokenizer = byte_level_tokenizer();
        let source =
            Source::from_bytes("r", b"{\"text\": \"abcdefgh\"}\n{\"text\": \"abc\"}".to_vec()).expect("source");
        let mut rows = RowCollector::new(&tokenizer, &source, 4, false);
        read(&source, &tokenizer, true, &mut rows).expect("rows");
        let (split, cut, _) = rows.finish().expect("split");
        assert_eq!((split.lengths(), cut), (vec![4, 4], 1));
        assert_eq!(marked(&tokenizer, &split, 0), "a⟦bcd⟧");
    }

    #[test]
    fn real_instructions_are_masked_exactly() {
        let (Some(data), Some(models)) = (shared_folder("data"), shared_folder("models")) else { return };
        let tokenizers = [
            chat_tokenizer(),
            Tokenizer::from_folder(&models.join("stories260K")).expect("tokenizer"),
            Tokenizer::from_folder(&models.join("babyllama105")).expect("tokenizer"),
        ];
        let path = data.join("instruct/valid.jsonl");
        let rows: Vec<Value> = std::fs::read_to_string(&path)
            .expect("file")
            .lines()
            .map(|line| serde_json::from_str(line).expect("json"))
            .collect();
        for tokenizer in tokenizers {
            let source = Source::from_path(&path).expect("source");
            let mut collector = RowCollector::new(&tokenizer, &source, 4096, false);
            read(&source, &tokenizer, true, &mut collector).expect("rows");
            let (split, cut, _) = collector.finish().expect("split");
            assert_eq!((split.len(), cut), (rows.len(), 0));
            for (index, value) in rows.iter().enumerate() {
                let row = split.row(index);
                let trained: Vec<u32> =
                    row.ids.iter().zip(&row.targets).filter(|(_, target)| **target).map(|(&id, _)| id).collect();
                let end = tokenizer.eos_ids()[0];
                assert_eq!(trained.last(), Some(&end));
                let text = tokenizer.decode(&trained, true).expect("text");
                // A small vocabulary loses characters, so the content goes the same way there and back.
                let content = value["messages"][1]["content"].as_str().expect("content");
                let content = tokenizer.encode(content, false).expect("ids");
                assert_eq!(text, tokenizer.decode(&content, true).expect("text"));
            }
        }
    }
}
