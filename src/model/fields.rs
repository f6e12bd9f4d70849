//! Reading `config.json` field by field: errors name the field, and what nobody has read can be told afterwards.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use serde_json::Value;

use super::{
    architecture::{Activation, Rope, RopeScaling},
    ignored,
};
use crate::{Error, Result, kernel::Packing};

/// Far above any real model: a damaged `config.json` should be refused, not exhaust the memory.
const MOST_LAYERS: usize = 10_000;

/// Fields of a JSON object, each remembered once it is read.
#[derive(Debug)]
pub struct Fields<'a> {
    json: &'a Value,
    /// What stands in front of a field's name where the object is a field itself.
    path: String,
    seen: Rc<RefCell<Seen<'a>>>,
}

/// What was read of one `config.json`.
#[derive(Debug, Default)]
struct Seen<'a> {
    /// Whole names of fields.
    read: BTreeSet<String>,
    /// The objects whose fields are read one by one, and what stands in front of their names.
    objects: Vec<(String, &'a Value)>,
}

impl<'a> Fields<'a> {
    /// The fields of a parsed `config.json`.
    pub fn new(json: &'a Value) -> Self {
        let fields = Self { json, path: String::new(), seen: Rc::default() };
        fields.seen.borrow_mut().objects.push((String::new(), json));
        fields
    }

    /// The value of a field, if it is there.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.seen.borrow_mut().read.insert(format!("{}{key}", self.path));
        self.json.get(key)
    }

    /// The fields of a field that is an object.
    pub fn object(&self, key: &str) -> Option<Fields<'a>> {
        let json = self.get(key).filter(|value| value.is_object())?;
        let path = format!("{}{key}.", self.path);
        self.seen.borrow_mut().objects.push((path.clone(), json));
        Some(Fields { json, path, seen: self.seen.clone() })
    }

    /// Refuses a field that nobody has read, and that neither is switched off nor is among those that change nothing (see
    /// [`ignored`]) nor in `ignored_here`, those that change nothing in this family.
    ///
    /// # Errors
    /// The first such field, by its name.
    pub fn all_read(&self, ignored_here: &[&str]) -> Result<()> {
        let seen = self.seen.borrow();
        for (path, json) in &seen.objects {
            for (key, value) in json.as_object().into_iter().flatten() {
                let name = format!("{path}{key}");
                let harmless = seen.read.contains(&name) || ignored_here.contains(&&name[..]);
                if !harmless && !ignored::harmless(key, value) {
                    let mut value = value.to_string();
                    if value.chars().count() > 60 {
                        value = value.chars().take(60).chain("...".chars()).collect();
                    }
                    return Err(Error::input(format!(
                        "config.json: \"{name}\" is {value}, which this program does not know and which may change what the \
                         model computes; if it does not, remove the field"
                    )));
                }
            }
        }
        Ok(())
    }

    fn wrong(&self, key: &str, value: &Value, wanted: &str) -> Error {
        Error::input(format!("config.json: \"{}{key}\" is {value} but must be {wanted}", self.path))
    }

    fn missing(&self, key: &str) -> Error {
        Error::input(format!("config.json: the field \"{}{key}\" is missing", self.path))
    }

    /// A required positive integer.
    pub fn size(&self, key: &str) -> Result<usize> {
        self.size_or(key, None)
    }

    /// A positive integer with a default for a missing or null field.
    pub fn size_or(&self, key: &str, default: Option<usize>) -> Result<usize> {
        match (self.get(key), default) {
            (None | Some(Value::Null), Some(default)) => Ok(default),
            (None | Some(Value::Null), None) => Err(self.missing(key)),
            (Some(value), _) => match value.as_u64() {
                Some(number) if number > 0 && number < 1 << 32 => Ok(number as usize),
                _ => Err(self.wrong(key, value, "a positive integer")),
            },
        }
    }

    /// A number with a default.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| self.wrong(key, value, "a number")),
        }
    }

    /// A required number.
    pub fn number(&self, key: &str) -> Result<f64> {
        match self.get(key) {
            None | Some(Value::Null) => Err(self.missing(key)),
            Some(_) => self.number_or(key, 0.0),
        }
    }

    /// A bound that is off where it is null or 0, with a default for a missing field.
    pub fn cap(&self, key: &str, default: Option<f64>) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(default),
            Some(_) => Ok(Some(self.number_or(key, 0.0)?).filter(|cap| *cap > 0.0)),
        }
    }

    /// A truth value with a default.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, value, "true or false")),
        }
    }

    /// Refuses each of these fields that is true.
    ///
    /// # Errors
    /// A field that is true, or no truth value.
    pub fn refuse(&self, keys: &[&str]) -> Result<()> {
        for key in keys {
            if self.flag_or(key, false)? {
                return Err(Error::input(format!(
                    "config.json: {}{key} is true, which is not supported for this kind of model",
                    self.path
                )));
            }
        }
        Ok(())
    }

    /// A text with a default.
    pub fn text_or(&self, key: &str, default: &str) -> Result<String> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(default.to_owned()),
            Some(value) => value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(key, value, "a text")),
        }
    }

    /// The 16-bit type of the checkpoint, if it says that it has one.
    pub fn stored(&self) -> Option<Packing> {
        let stated = self.get("dtype").or_else(|| self.get("torch_dtype"));
        match stated.and_then(Value::as_str) {
            Some("bfloat16") => Some(Packing::Bf16),
            Some("float16") => Some(Packing::F16),
            _ => None,
        }
    }

    /// A token id, or the first of a list of them.
    pub fn token(&self, key: &str) -> Option<u32> {
        let value = self.get(key)?;
        let value = value.as_array().and_then(|list| list.first()).unwrap_or(value);
        value.as_u64().and_then(|id| u32::try_from(id).ok())
    }

    /// The number of blocks.
    pub fn layers(&self, key: &str) -> Result<usize> {
        match self.size(key)? {
            layers if layers > MOST_LAYERS => Err(Error::input(format!(
                "config.json: {key} {layers} is more than the {MOST_LAYERS} that this program accepts"
            ))),
            layers => Ok(layers),
        }
    }

    /// Which blocks have a sliding window: `layer_types`, or what `by_default` says of each block's number.
    pub fn sliding_layers(&self, layers: usize, by_default: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
        let Some(types) = self.get("layer_types").filter(|types| !types.is_null()) else {
            return Ok((0..layers).map(by_default).collect());
        };
        let kinds = types.as_array().filter(|types| types.len() == layers).and_then(|types| {
            let kind = |value: &Value| match value.as_str() {
                Some("sliding_attention") => Some(true),
                Some("full_attention") => Some(false),
                _ => None,
            };
            types.iter().map(kind).collect::<Option<Vec<bool>>>()
        });
        kinds.ok_or_else(|| {
            Error::input(format!(
                "config.json: layer_types must list sliding_attention or full_attention for each of the {layers} layers"
            ))
        })
    }

    /// The activation function named by `key`.
    pub fn activation(&self, key: &str, default: &str) -> Result<Activation> {
        match self.text_or(key, default)?.as_str() {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            other => Err(Error::input(format!(
                "config.json: {key} \"{other}\" is not supported; supported are silu, gelu, gelu_new and \
                 gelu_pytorch_tanh"
            ))),
        }
    }

    /// The rotary embedding, in the new form (`rope_parameters`) or the old (`rope_theta`, `rope_scaling`).
    pub fn rope(&self) -> Result<Rope> {
        self.rope_with_base(10_000.0)
    }

    /// The same with another default of the base. Where there are both forms the old one counts, all of it, as in
    /// transformers: the base within `rope_parameters` is then not looked at.
    pub fn rope_with_base(&self, base: f64) -> Result<Rope> {
        let theta = self.number_or("rope_theta", base)?;
        let (old, new) = (self.object("rope_scaling"), self.get("rope_parameters").is_some());
        match old.or_else(|| if new { self.object("rope_parameters") } else { None }) {
            Some(parameters) => parameters.scaled_rope(theta),
            None => Ok(Rope { theta, share: 1.0, scaling: RopeScaling::Default }),
        }
    }

    /// The rotary embedding that the object itself describes; `theta` is the default of its base.
    pub fn scaled_rope(&self, theta: f64) -> Result<Rope> {
        let theta = self.number_or("rope_theta", theta)?;
        let kind = self.text_or("rope_type", &self.text_or("type", "default")?)?;
        let scaling = match kind.as_str() {
            "default" => RopeScaling::Default,
            "linear" => RopeScaling::Linear { factor: self.number("factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: self.number("factor")?,
                low_freq_factor: self.number("low_freq_factor")?,
                high_freq_factor: self.number("high_freq_factor")?,
                original_context: self.number("original_max_position_embeddings")?,
            },
            other => {
                return Err(Error::input(format!(
                    "config.json: rotary scaling \"{other}\" is not supported; supported are default, linear and llama3"
                )));
            }
        };
        Ok(Rope { theta, share: 1.0, scaling })
    }

    /// The share of a head that is rotated: `partial_rotary_factor` inside `rope_parameters`, or the field `old` beside it.
    pub fn rotary_share(&self, old: &str, default: f64) -> Result<f64> {
        let outer = self.number_or(old, default)?;
        match self.object("rope_parameters") {
            Some(parameters) => parameters.number_or("partial_rotary_factor", outer),
            None => Ok(outer),
        }
    }

    /// The rotary embedding of the layers of one kind (`full_attention`, `sliding_attention`), where `rope_parameters` tells
    /// them apart.
    pub fn rope_of_layers(&self, kind: &str, theta: f64) -> Result<Option<Rope>> {
        let parameters = self.object("rope_parameters").and_then(|all| all.object(kind));
        parameters.map(|parameters| parameters.scaled_rope(theta)).transpose()
    }
}
