//! Figures in JSON, which has no word for those that are not finite: `"NaN"`, `"Infinity"` and `"-Infinity"`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serializer, de};

/// A figure that is always there.
pub(super) mod plain {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            value if value.is_finite() => serializer.serialize_f64(*value),
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value if *value > 0.0 => serializer.serialize_str("Infinity"),
            _ => serializer.serialize_str("-Infinity"),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Figure::deserialize(deserializer).map(|figure| figure.0)
    }
}

/// A figure that may be missing.
pub(super) mod optional {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => plain::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        Option::<Figure>::deserialize(deserializer).map(|figure| figure.map(|figure| figure.0))
    }
}

struct Figure(f64);

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Figure)
    }
}

struct Reader;

impl de::Visitor<'_> for Reader {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number, \"NaN\", \"Infinity\" or \"-Infinity\"")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<f64, E> {
        match value {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::event::{Event, Metrics};

    #[test]
    fn figures_that_are_not_finite_survive() {
        let metrics = Metrics {
            step: 3,
            loss: Some(f64::NAN),
            grad_norm: Some(f64::INFINITY),
            learning_rate: Some(f64::NEG_INFINITY),
            ..Metrics::default()
        };
        let text = serde_json::to_string(&metrics).expect("JSON");
        assert!(text.contains(r#""loss":"NaN""#) && text.contains(r#""grad_norm":"Infinity""#), "{text}");
        let read: Metrics = serde_json::from_str(&text).expect("metrics");
        assert!(read.loss.is_some_and(f64::is_nan) && read.eval_loss.is_none());
        assert_eq!((read.grad_norm, read.learning_rate), (metrics.grad_norm, metrics.learning_rate));
        let event = Event::Evaluated { metrics, perplexity: f64::INFINITY, best: false };
        let read = serde_json::from_str(&serde_json::to_string(&event).expect("JSON")).expect("an event");
        assert!(matches!(read, Event::Evaluated { perplexity: f64::INFINITY, metrics, .. } if metrics.step == 3));
    }

    #[test]
    fn null_is_no_figure_and_other_words_are_errors() {
        let read = |loss: &str| serde_json::from_str::<Metrics>(&EMPTY.replace("LOSS", loss)).map(|m| m.loss);
        assert_eq!(read("null").expect("none"), None);
        assert_eq!(read("2").expect("a number"), Some(2.0));
        assert_eq!(read("-2").expect("a number"), Some(-2.0));
        assert_eq!(read("1.5").expect("a number"), Some(1.5));
        assert!(read("\"nan\"").is_err() && read("[]").is_err());
    }

    const EMPTY: &str = r#"{"step":1,"loss":LOSS,"tokens":0,"tokens_per_sec":0,"elapsed_secs":0,"remaining_secs":0,
        "memory_in_use_bytes":0,"memory_reserved_bytes":0}"#;
}
