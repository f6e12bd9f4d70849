//! Conversations as text, by the model's own Jinja chat template or by a plain format where it has none.
//!
//! The environment is made to behave as Hugging Face `apply_chat_template` does: the same whitespace rules, functions,
//! filters and Python string methods. What is a target of training is decided elsewhere (`language`).

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value};
use serde::{Deserialize, Serialize};

use super::clock::Date;
use super::python_json;
use crate::error::{Error, Result};
use crate::panics;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: "system", "user", "assistant", ...
    pub role: String,
    /// The text of the turn.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A compiled chat template.
pub struct ChatTemplate {
    name: String,
    source: String,
    environment: Environment<'static>,
    special_tokens: Vec<(String, String)>,
    /// The date that the template is given, where it asks for one.
    date: Option<Date>,
}

const ENTRY: &str = "chat";

impl ChatTemplate {
    /// Compiles `source`. `name` is what error messages call it (its file); `special_tokens` are the variables that
    /// the template sees, such as `("bos_token", "<s>")`. Where it asks for the date (`strftime_now`) it is given today's,
    /// until [`Self::set_date`].
    ///
    /// # Errors
    /// When the template has a syntax error.
    pub fn new(name: &str, source: &str, special_tokens: &[(String, String)]) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|e| Error::input(format!("{name}: {e}")))?;
        environment.set_syntax(syntax);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", python_json::tojson);
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned(ENTRY, without_generation_tags(source))
            .map_err(|e| Error::input(format!("the chat template in {name} is broken: {}", describe(&e))))?;
        let mut template = Self {
            name: name.to_string(),
            source: source.to_string(),
            environment,
            special_tokens: special_tokens.to_vec(),
            date: None,
        };
        // Without a clock the function stays undefined: templates test for it and have a date of their own.
        if let Some(today) = Date::today().filter(|_| template.asks_for_date()) {
            template.set_date(today);
        }
        Ok(template)
    }

    /// Whether the text depends on the date.
    pub(crate) fn asks_for_date(&self) -> bool {
        self.source.contains("strftime_now")
    }

    /// The date that the template is given; `None` where it does not ask for one.
    pub(crate) fn date(&self) -> Option<Date> {
        self.date
    }

    /// Gives the template another date.
    pub(crate) fn set_date(&mut self, date: Date) {
        self.date = Some(date);
        self.environment.add_function("strftime_now", move |format: String| date.strftime(&format));
    }

    /// The variables that the template sees besides the messages.
    pub(crate) fn special_tokens(&self) -> &[(String, String)] {
        &self.special_tokens
    }

    /// The template's text as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The file that the template came from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The conversation as text; with `add_generation_prompt` followed by the opening of an assistant turn.
    ///
    /// # Errors
    /// When the template refuses the messages (it raises) or fails; the message names the template.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let mut variables: BTreeMap<&str, Value> =
            self.special_tokens.iter().map(|(name, text)| (name.as_str(), Value::from(text.as_str()))).collect();
        let message = |m: &Message| {
            BTreeMap::from([("role", Value::from(m.role.as_str())), ("content", Value::from(m.content.as_str()))])
        };
        variables.insert("messages", messages.iter().map(|m| Value::from(message(m))).collect());
        variables.insert("add_generation_prompt", add_generation_prompt.into());
        // The library's callers always pass these two, so templates may test them without `is defined`.
        variables.insert("tools", Value::from(()));
        variables.insert("documents", Value::from(()));
        let render = || self.environment.get_template(ENTRY)?.render(Value::from(variables));
        let refused = |what: &str| Error::input(format!("the chat template in {} refused this: {what}", self.name));
        panics::caught(render).map_err(|panic| refused(&panic.message))?.map_err(|e| refused(&describe(&e)))
    }
}

/// A template error as a person wants it: what it says, and the template's line.
fn describe(error: &minijinja::Error) -> String {
    let what = match error.detail() {
        Some(detail) if error.kind() == ErrorKind::InvalidOperation => detail.to_string(),
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    match error.line() {
        Some(line) => format!("{what} (line {line} of the template)"),
        None => what,
    }
}

/// `{% generation %}` marks assistant text for Python's mask and writes nothing; here it becomes `{% if true %}`.
fn without_generation_tags(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        text.push_str(before);
        let Some(length) = tag.find("%}").map(|end| end + 2) else {
            text.push_str(tag);
            return text;
        };
        let inside = &tag[2..length - 2];
        let word = inside.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        match word {
            "generation" => text.push_str(&format!("{{%{}%}}", inside.replacen(word, "if true", 1))),
            "endgeneration" => text.push_str(&format!("{{%{}%}}", inside.replacen(word, "endif", 1))),
            _ => text.push_str(&tag[..length]),
        }
        rest = &tag[length..];
    }
    text.push_str(rest);
    text
}

/// The plain format for models without a template: `### User:\n...\n### Assistant:\n...<end token>\n`.
pub(crate) fn render_plain(messages: &[Message], add_generation_prompt: bool, end: &str) -> String {
    let mut text = String::new();
    for message in messages {
        let mut role = message.role.chars();
        let name: String = role.next().into_iter().flat_map(char::to_uppercase).chain(role).collect();
        let end = if message.role == "assistant" { end } else { "" };
        text.push_str(&format!("### {name}:\n{}{end}\n", message.content));
    }
    if add_generation_prompt {
        text.push_str("### Assistant:\n");
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' \
        %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + \
        message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt \
        %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
        {{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}\
        {% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    const LLAMA2: &str = "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}\
        {% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}\
        {% set system_message = false %}{% endif %}{% for message in loop_messages %}\
        {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
        {% if loop.index0 == 0 and system_message != false %}\
        {% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}\
        {% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}\
        {{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}\
        {{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}";

    const LLAMA3: &str = "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = \
        '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}\
        {% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

    const LLAMA32_DATE: &str = r#"{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}

{#- This block extracts the system message #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"#;

    const GEMMA: &str = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
        {{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}\
        {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
        {% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}\
        {% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}\
        {% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}";

    const ZEPHYR: &str = "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + \
        message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + \
        message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + \
        message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n\
        {{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}";

    /// The parts of Qwen3's template that lean most on Python: reversed lists, namespaces, string methods.
    pub(crate) const QWEN3: &str = r#"{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {{- message.tool_calls | tojson }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"#;

    fn template(source: &str) -> ChatTemplate {
        let tokens = [("bos_token".to_string(), "<s>".to_string()), ("eos_token".to_string(), "</s>".to_string())];
        ChatTemplate::new("chat_template.jinja", source, &tokens).expect("template")
    }

    fn talk() -> Vec<Message> {
        vec![Message::new("user", "Hi "), Message::new("assistant", "Hello"), Message::new("user", "Bye")]
    }

    #[test]
    fn chatml_and_smollm2() {
        assert_eq!(
            template(CHATML).render(&talk(), true).expect("text"),
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi <|im_end|>\n\
             <|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
        );
        let text = template(SMOLLM2).render(&[Message::new("system", "S"), Message::new("user", "U")], false);
        assert_eq!(text.expect("text"), "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n");
        let text = template(SMOLLM2).render(&talk()[..1], false).expect("text");
        assert!(text.starts_with("<|im_start|>system\nYou are a helpful AI assistant named SmolLM"), "{text}");
    }

    #[test]
    fn llama2_alternates_and_strips() {
        let mut messages = vec![Message::new("system", "Be kind")];
        messages.extend(talk());
        assert_eq!(
            template(LLAMA2).render(&messages, true).expect("text"),
            "<s>[INST] <<SYS>>\nBe kind\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] Bye [/INST]"
        );
        let error = template(LLAMA2).render(&messages[2..], false).expect_err("must alternate").to_string();
        assert!(error.contains("chat_template.jinja") && error.contains("must alternate"), "{error}");
    }

    #[test]
    fn llama3_headers() {
        assert_eq!(
            template(LLAMA3).render(&talk()[..1], true).expect("text"),
            "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        );
        let text = template(LLAMA32_DATE).render(&talk()[..1], false).expect("text");
        assert!(text.starts_with("<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: "), "{text}");
        assert!(text.ends_with("<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"), "{text}");
        assert!(!text.contains("ipython"));
    }

    #[test]
    fn the_date_is_the_one_that_is_set() {
        let mut dated = template(LLAMA32_DATE);
        assert_eq!(dated.date(), Date::today());
        dated.set_date(Date::parse("2024-07-26").expect("a date"));
        let text = dated.render(&talk()[..1], false).expect("text");
        assert!(text.contains("Today Date: 26 Jul 2024\n"), "{text}");
        assert_eq!(template(CHATML).date(), None);
    }

    #[test]
    fn gemma_refuses_a_system_role() {
        assert_eq!(
            template(GEMMA).render(&talk()[..2], true).expect("text"),
            "<s><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n<start_of_turn>model\n"
        );
        let error = template(GEMMA).render(&[Message::new("system", "x")], false).expect_err("raises").to_string();
        assert!(error.contains("System role not supported"), "{error}");
    }

    #[test]
    fn zephyr_whitespace_is_as_in_python() {
        assert_eq!(template(ZEPHYR).render(&talk()[..1], true).expect("text"), "<|user|>\nHi </s>\n<|assistant|>\n");
    }

    #[test]
    fn qwen3_python_methods() {
        let messages = [
            Message::new("user", "1+1?"),
            Message::new("assistant", "<think>\neasy\n</think>\n\n2"),
            Message::new("user", "2+2?"),
            Message::new("assistant", "4"),
        ];
        assert_eq!(
            template(QWEN3).render(&messages, true).expect("text"),
            "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n\
             <|im_start|>assistant\n<think>\n\n</think>\n\n4<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn generation_tags_and_loop_controls() {
        let source = "{% for m in messages %}{%- if m.role == 'system' %}{% continue %}{% endif %}\
            {%- generation -%} {{ m.content }} {%- endgeneration -%}{% if loop.index0 == 1 %}{% break %}{% endif %}|\
            {% endfor %}{{ messages[0] | tojson }}";
        assert_eq!(
            template(source).render(&talk(), false).expect("text"),
            r#"Hi |Hello{"content": "Hi ", "role": "user"}"#
        );
    }

    #[test]
    fn a_broken_template_is_named_with_its_line() {
        let Err(error) = ChatTemplate::new("x.jinja", "ok\n{% if %}", &[]) else { panic!("must fail") };
        assert!(error.to_string().contains("x.jinja") && error.to_string().contains("line 2"), "{error}");
        let error = template("\n{{ messages[0].content.nonsense() }}").render(&talk(), false).expect_err("fails");
        assert!(error.to_string().contains("line"), "{error}");
    }

    #[test]
    fn plain_format() {
        assert_eq!(
            render_plain(&talk(), true, "</s>"),
            "### User:\nHi \n### Assistant:\nHello</s>\n### User:\nBye\n### Assistant:\n"
        );
    }
}
