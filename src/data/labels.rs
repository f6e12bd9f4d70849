//! The classes of a classification: collected from the training rows, or given beforehand.

use std::collections::HashMap;

use serde_json::Value;

use super::record::type_name;
use super::source::Source;
use crate::error::{Error, Result};

/// How many classes a message lists.
const SHOWN: usize = 20;

/// Classes and their numbers.
pub(crate) struct Classes {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Every new label is a new class.
    Collecting,
    /// The classes are those of the training rows.
    Collected,
    /// The classes were given: a number that is no name counts in their list.
    Given,
}

impl Classes {
    /// Classes that are collected from the training rows.
    pub(crate) fn collecting() -> Self {
        Self { names: Vec::new(), numbers: HashMap::new(), state: State::Collecting }
    }

    /// These classes and no others, in this order.
    pub(crate) fn given(names: &[String]) -> Result<Self> {
        if names.len() < 2 {
            return Err(Error::input(format!(
                "{} given as the classes: a classification needs at least two",
                names.first().map_or("nothing was".to_string(), |name| format!("only \"{name}\" was"))
            )));
        }
        let mut classes = Self::collecting();
        for name in names {
            let name = name.trim();
            if name.is_empty() || classes.numbers.contains_key(name) {
                return Err(Error::input(format!(
                    "the class \"{name}\" is given twice or without a name: name each once"
                )));
            }
            classes.add(name);
        }
        classes.state = State::Given;
        Ok(classes)
    }

    /// The names, by number.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of the class that `label` means; a reason where there is none.
    pub(crate) fn number(&mut self, label: &str) -> Result<u32, String> {
        if let Some(&number) = self.numbers.get(label) {
            return Ok(number);
        }
        match self.state {
            State::Collecting => Ok(self.add(label)),
            State::Collected => Err(format!(
                "the label \"{label}\" does not come in the training rows, which have {}: correct it, add training \
                 rows of this class, or skip bad rows",
                self.list()
            )),
            State::Given => {
                let index = label.parse::<u32>().ok().filter(|&index| (index as usize) < self.names.len());
                index.ok_or_else(|| {
                    format!(
                        "the label \"{label}\" is none of the classes {}: correct it, give all classes, or skip bad rows",
                        self.list()
                    )
                })
            }
        }
    }

    fn add(&mut self, label: &str) -> u32 {
        let number = self.names.len() as u32;
        self.names.push(label.to_string());
        self.numbers.insert(label.to_string(), number);
        number
    }

    /// Ends collecting: whole numbers are sorted as numbers, names by the alphabet. Returns the final number of each
    /// number given out so far.
    ///
    /// # Errors
    /// When `source`, the training file, has fewer than two classes.
    pub(crate) fn settle(&mut self, source: &Source) -> Result<Vec<u32>> {
        if self.state != State::Collecting {
            return Ok((0..self.names.len() as u32).collect());
        }
        if let [only] = &self.names[..] {
            return Err(Error::input(format!(
                "all rows of {} have the label \"{only}\": a classification needs at least two classes",
                source.name()
            )));
        }
        let before = std::mem::take(&mut self.names);
        let mut sorted = before.clone();
        match before.iter().map(|name| name.parse().ok()).collect::<Option<Vec<i64>>>() {
            Some(_) => sorted.sort_by_key(|name| (name.parse::<i64>().ok(), name.clone())),
            None => sorted.sort(),
        }
        self.numbers.clear();
        for name in &sorted {
            self.add(name);
        }
        self.state = State::Collected;
        Ok(before.iter().map(|name| self.numbers[name]).collect())
    }

    fn list(&self) -> String {
        let shown = self.names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        match self.names.len().saturating_sub(SHOWN) {
            0 => shown,
            more => format!("{shown} and {more} more"),
        }
    }
}

/// The label in `column` as a name: text, whole numbers, true and false.
pub(crate) fn label_name(value: Option<&Value>, column: &str) -> Result<String, String> {
    match value {
        Some(Value::String(text)) if text.trim().is_empty() => {
            Err(format!("the label in \"{column}\" is empty: fill it, or skip bad rows"))
        }
        Some(Value::String(text)) => Ok(text.trim().to_string()),
        Some(Value::Bool(label)) => Ok(label.to_string()),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(label) if number.is_f64() && label.fract() == 0.0 && label.abs() < 1e15 => Ok(format!("{label:.0}")),
            _ if number.is_f64() => Err(format!(
                "the label {number} in \"{column}\" is no whole number: a class is a name or a whole number"
            )),
            _ => Ok(number.to_string()),
        },
        None | Some(Value::Null) => {
            Err(format!("the label in \"{column}\" is missing: every row needs one; fill it, or skip bad rows"))
        }
        Some(other) => {
            Err(format!("the label in \"{column}\" is {}: a row has one class, a name or a number", type_name(other)))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source() -> Source {
        Source::from_bytes("train.jsonl", b"x".to_vec()).expect("source")
    }

    fn collected(labels: &[&str]) -> (Classes, Vec<u32>) {
        let mut classes = Classes::collecting();
        let raw: Vec<u32> = labels.iter().map(|label| classes.number(label).expect("new")).collect();
        let order = classes.settle(&source()).expect("classes");
        let numbers = raw.into_iter().map(|number| order[number as usize]).collect();
        (classes, numbers)
    }

    #[test]
    fn numbers_and_names_are_sorted_their_own_way() {
        let (classes, numbers) = collected(&["10", "9", "-1", "10"]);
        assert_eq!(classes.names(), ["-1", "9", "10"]);
        assert_eq!(numbers, [2, 1, 0, 2]);
        let (mut classes, numbers) = collected(&["b", "10", "a", "9"]);
        assert_eq!(classes.names(), ["10", "9", "a", "b"]);
        assert_eq!(numbers, [3, 0, 2, 1]);
        let error = classes.number("c").expect_err("unknown");
        assert!(error.contains("\"c\" does not come in the training rows, which have 10, 9, a, b"), "{error}");
    }

    #[test]
    fn given_classes_are_names_first_and_numbers_second() {
        let names = ["no", "yes", "0"].map(String::from);
        let mut classes = Classes::given(&names).expect("classes");
        let numbers: Vec<u32> = ["yes", "0", "1", "no"].iter().map(|l| classes.number(l).expect("known")).collect();
        assert_eq!(numbers, [1, 2, 1, 0]);
        for label in ["3", "-1", "maybe", "1.0"] {
            assert!(classes.number(label).expect_err("unknown").contains("none of the classes no, yes, 0"));
        }
        assert_eq!(classes.settle(&source()).expect("order"), [0, 1, 2]);
        for names in [&["a"][..], &[], &["a", "a"], &["a", " "]] {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            assert!(Classes::given(&names).is_err());
        }
    }

    #[test]
    fn one_class_is_no_classification() {
        let mut classes = Classes::collecting();
        classes.number("a").expect("new");
        let error = classes.settle(&source()).expect_err("one").to_string();
        assert!(error.contains("all rows of train.jsonl have the label \"a\""), "{error}");
    }

    #[test]
    fn labels_of_all_types_have_names() {
        for (value, name) in
            [(json!(" a "), "a"), (json!(3), "3"), (json!(-3), "-3"), (json!(2.0), "2"), (json!(true), "true")]
        {
            assert_eq!(label_name(Some(&value), "label").expect("name"), name);
        }
        for (value, what) in [
            (json!(""), "is empty"),
            (json!(null), "is missing"),
            (json!(0.5), "0.5 in \"label\" is no whole number"),
            (json!([1]), "is a list"),
        ] {
            let error = label_name(Some(&value), "label").expect_err("bad");
            assert!(error.contains(what), "{error}");
        }
        assert!(label_name(None, "label").expect_err("none").contains("is missing"));
    }
}
