//! Templates such as `Review: {text}` that make one text of a row's columns. `{{` and `}}` write braces.

use crate::error::{Error, Result};

/// A template in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Column(String),
}

impl TextTemplate {
    /// Takes `source` apart.
    ///
    /// # Errors
    /// When a brace is not closed or not opened, a placeholder has no name, or there is none.
    pub(crate) fn parse(source: &str) -> Result<Self> {
        let fail = |why: &str| {
            Err(Error::input(format!(
                "the template \"{source}\" {why}: columns are written as {{text}}, braces as {{{{ and }}}}"
            )))
        };
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..at + 1];
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = behind;
                continue;
            }
            if brace == "}" {
                return fail("closes a brace that is not open");
            }
            let Some(end) = rest.find('}') else { return fail("opens a brace and does not close it") };
            let name = rest[..end].trim();
            if name.is_empty() || name.contains('{') {
                return fail("has a placeholder without a name");
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Column(name.to_string()));
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        let template = Self { parts };
        if template.columns().next().is_none() { fail("names no column") } else { Ok(template) }
    }

    /// The columns named, in order.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Column(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The text, where `value` gives each column's text.
    pub(crate) fn fill<E>(&self, mut value: impl FnMut(&str) -> Result<String, E>) -> Result<String, E> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Column(name) => text.push_str(&value(name)?),
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_filled_and_braces_escaped() {
        let template = TextTemplate::parse("{{Review}}: { text }\n{a b}{text}}}").expect("template");
        assert_eq!(template.columns().collect::<Vec<_>>(), ["text", "a b", "text"]);
        let text = template.fill(|name| Ok::<_, String>(format!("<{name}>"))).expect("text");
        assert_eq!(text, "{Review}: <text>\n<a b><text>}");
        assert_eq!(template.fill(|name| Err::<String, _>(name.to_string())), Err("text".to_string()));
    }

    #[test]
    fn broken_templates_say_why() {
        for (source, why) in [
            ("a {text", "does not close it"),
            ("a }text", "is not open"),
            ("a {}", "without a name"),
            ("a {b{c}}", "without a name"),
            ("no column {{text}}", "names no column"),
            ("", "names no column"),
        ] {
            let error = TextTemplate::parse(source).expect_err("broken").to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
