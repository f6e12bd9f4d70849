//! The numbers of the architecture as GGUF metadata.

use serde_json::Value as Json;

use super::{
    container::{Metadata, Value},
    encode::Encoding,
    error::config_error,
    names::{Family, key_heads},
};
use crate::{
    Result,
    model::architecture::{Fields, RopeScaling},
};

/// What is being gathered.
struct Settings<'a> {
    family: Family,
    fields: Fields<'a>,
    list: Metadata,
}

impl Settings<'_> {
    fn number(&mut self, key: &str, number: usize) {
        self.list.push((format!("{}.{key}", self.family.name()), Value::U32(number as u32)));
    }

    fn float(&mut self, key: &str, number: f64) {
        self.list.push((format!("{}.{key}", self.family.name()), Value::F32(number as f32)));
    }
}

/// Metadata `general.*` and those of the family, and what a person should know of the file.
///
/// # Errors
/// A field that is missing or wrong, or a choice that llama.cpp does not have.
pub fn describe(family: Family, config: &Json, name: &str, encoding: Encoding) -> Result<(Metadata, Vec<String>)> {
    let general = |key: &str, value| (format!("general.{key}"), value);
    let list = vec![
        general("architecture", Value::Text(family.name().into())),
        general("type", Value::Text("model".into())),
        general("name", Value::Text(name.into())),
        general("file_type", Value::U32(encoding.file_type())),
        general("quantization_version", Value::U32(2)),
    ];
    let mut settings = Settings { family, fields: Fields { json: config }, list };
    let mut notes = Vec::new();
    if family == Family::Gpt2 {
        gpt2(&mut settings)?;
    } else {
        decoder(&mut settings, &mut notes)?;
    }
    Ok((settings.list, notes))
}

fn gpt2(settings: &mut Settings) -> Result<()> {
    let fields = Fields { json: settings.fields.json };
    let width = fields.size("n_embd")?;
    let (layers, heads) = (fields.size("n_layer")?, fields.size("n_head")?);
    settings.number("context_length", fields.size("n_positions")?);
    settings.number("embedding_length", width);
    settings.number("block_count", layers);
    settings.number("feed_forward_length", fields.size_or("n_inner", Some(4 * width))?);
    settings.number("attention.head_count", heads);
    settings.float("attention.layer_norm_epsilon", fields.number_or("layer_norm_epsilon", 1e-5)?);
    Ok(())
}

fn decoder(settings: &mut Settings, notes: &mut Vec<String>) -> Result<()> {
    let (family, fields) = (settings.family, Fields { json: settings.fields.json });
    let width = fields.size("hidden_size")?;
    let heads = fields.size("num_attention_heads")?;
    let gemma = matches!(family, Family::Gemma | Family::Gemma2 | Family::Gemma3);
    let default_head = match family {
        Family::Qwen3 => 128,
        _ if gemma => 256,
        _ => width / heads,
    };
    let head = fields.size_or("head_dim", Some(default_head))?;
    let positions = fields.size_or("max_position_embeddings", Some(2048))?;
    settings.number("context_length", positions);
    settings.number("embedding_length", width);
    settings.number("block_count", fields.size("num_hidden_layers")?);
    settings.number("feed_forward_length", fields.size("intermediate_size")?);
    settings.number("attention.head_count", heads);
    let keys = fields.size_or("num_key_value_heads", Some(key_heads(fields.json, heads)))?;
    settings.number("attention.head_count_kv", keys);
    settings.number("attention.key_length", head);
    settings.number("attention.value_length", head);
    settings.float("attention.layer_norm_rms_epsilon", fields.number_or("rms_norm_eps", 1e-6)?);
    if family == Family::Llama {
        settings.number("vocab_size", fields.size("vocab_size")?);
        settings.number("rope.dimension_count", head);
    }
    match family {
        Family::Gemma2 => {
            settings.float("attn_logit_softcapping", fields.number_or("attn_logit_softcapping", 50.0)?);
            settings.float("final_logit_softcapping", fields.number_or("final_logit_softcapping", 30.0)?);
            windows(settings, 2)?;
        }
        Family::Gemma3 => {
            windows(settings, 6)?;
            if fields.number_or("final_logit_softcapping", 0.0)? != 0.0 {
                return Err(config_error("final_logit_softcapping of Gemma 3 has no place in a GGUF file"));
            }
        }
        _ => {
            let window = fields.size_or("sliding_window", Some(usize::MAX))?;
            if fields.json["model_type"] == "mistral" && window < positions {
                notes.push(format!(
                    "llama.cpp does not know the attention window of {window} tokens of this model: longer texts come \
                     out differently there"
                ));
            }
        }
    }
    if family == Family::Gemma3 { two_ropes(settings) } else { rope(settings) }
}

/// Layers with a window of attention must be those that llama.cpp takes for such: all but every `period`-th.
fn windows(settings: &mut Settings, period: usize) -> Result<()> {
    let fields = Fields { json: settings.fields.json };
    let layers = fields.size("num_hidden_layers")?;
    if let Some(kinds) = fields.json["layer_types"].as_array() {
        let usual =
            |layer: usize| if (layer + 1).is_multiple_of(period) { "full_attention" } else { "sliding_attention" };
        if kinds.len() != layers || kinds.iter().enumerate().any(|(layer, kind)| *kind != usual(layer)) {
            return Err(config_error(format!(
                "layer_types differ from those of {}, whose order of attention windows llama.cpp takes for granted",
                settings.family.name()
            )));
        }
    }
    settings.number("attention.sliding_window", fields.size_or("sliding_window", Some(4096))?);
    Ok(())
}

fn rope(settings: &mut Settings) -> Result<()> {
    let rope = settings.fields.rope()?;
    settings.float("rope.freq_base", rope.theta);
    match rope.scaling {
        RopeScaling::Default => {}
        RopeScaling::Linear { factor } => linear(settings, factor),
        // The factors are a tensor of their own.
        RopeScaling::Llama3 { .. } if settings.family == Family::Llama => {}
        RopeScaling::Llama3 { .. } => {
            return Err(config_error("rotary scaling \"llama3\" has no place in a GGUF file of this family"));
        }
    }
    Ok(())
}

fn linear(settings: &mut Settings, factor: f64) {
    let key = format!("{}.rope.scaling.type", settings.family.name());
    settings.list.push((key, Value::Text("linear".into())));
    settings.float("rope.scaling.factor", factor);
}

/// Gemma 3 has one rotary base for layers with a window and one for those without.
fn two_ropes(settings: &mut Settings) -> Result<()> {
    let fields = Fields { json: settings.fields.json };
    let parameters = &fields.json["rope_parameters"];
    let base = |kind: &str, key: &str, default: f64| match parameters[kind].is_object() {
        true => Fields { json: &parameters[kind] }.number_or("rope_theta", default),
        false => fields.number_or(key, default),
    };
    let (wide, narrow) =
        (base("full_attention", "rope_theta", 1e6)?, base("sliding_attention", "rope_local_base_freq", 1e4)?);
    settings.float("rope.freq_base", wide);
    settings.float("rope.freq_base_swa", narrow);
    let scaling = match parameters["full_attention"].is_object() {
        true => &parameters["full_attention"],
        false => &fields.json["rope_scaling"],
    };
    let kind = scaling.get("rope_type").or(scaling.get("type")).and_then(Json::as_str).unwrap_or("default");
    match kind {
        "default" => {}
        "linear" => linear(settings, Fields { json: scaling }.number("factor")?),
        other => return Err(config_error(format!("rotary scaling \"{other}\" has no place in a GGUF file"))),
    }
    Ok(())
}
