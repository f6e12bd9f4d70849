//! Sizes and choices of the architecture as GGUF metadata.

use super::{
    container::{Metadata, Value},
    encode::Encoding,
    error::config_error,
};
use crate::{
    Result,
    model::{
        architecture::{Activation, Architecture, NormKind, Positions, Rope, RopeScaling},
        family::Gguf,
    },
};

/// What is being gathered.
struct Settings<'a> {
    gguf: &'a Gguf,
    list: Metadata,
}

impl Settings<'_> {
    fn put(&mut self, key: &str, value: Value) {
        self.list.push((format!("{}.{key}", self.gguf.name), value));
    }

    fn number(&mut self, key: &str, number: usize) {
        self.put(key, Value::U32(number as u32));
    }

    fn float(&mut self, key: &str, number: f64) {
        self.put(key, Value::F32(number as f32));
    }
}

/// Metadata `general.*` and those of the family, and what a person should know of the file.
///
/// # Errors
/// A choice that llama.cpp does not have.
pub fn describe(gguf: &Gguf, a: &Architecture, name: &str, encoding: Encoding) -> Result<(Metadata, Vec<String>)> {
    let general = |key: &str, value| (format!("general.{key}"), value);
    let list = vec![
        general("architecture", Value::Text(gguf.name.into())),
        general("type", Value::Text("model".into())),
        general("name", Value::Text(name.into())),
        general("file_type", Value::U32(encoding.file_type())),
        general("quantization_version", Value::U32(2)),
    ];
    let mut settings = Settings { gguf, list };
    let mut notes = Vec::new();
    settings.number("context_length", a.max_positions);
    settings.number("embedding_length", a.hidden_size);
    settings.number("block_count", a.layers());
    settings.number("feed_forward_length", a.intermediate_size);
    settings.number("attention.head_count", a.heads);
    if let Positions::Rotary(_) = &a.positions {
        settings.number("attention.head_count_kv", a.kv_heads);
        settings.number("attention.key_length", a.head_dim);
        settings.number("attention.value_length", a.head_dim);
    }
    let layer_norm = matches!(a.norm, NormKind::Layer | NormKind::LayerWithoutBias);
    settings.float(
        if layer_norm { "attention.layer_norm_epsilon" } else { "attention.layer_norm_rms_epsilon" },
        a.norm_eps,
    );
    if gguf.neighbours {
        settings.number("vocab_size", a.vocab_size);
    }
    softcaps(&mut settings, a)?;
    windows(&mut settings, a, &mut notes)?;
    if a.qkv_by_head {
        settings.put("use_parallel_residual", Value::Bool(a.blocks.iter().all(|block| block.parallel)));
    }
    if layer_norm && a.activation == Activation::Gelu {
        notes.push("llama.cpp approximates the gelu of this model by tanh: its logits differ a little".into());
    }
    if let Positions::Rotary(ropes) = &a.positions {
        rotary(&mut settings, a, ropes)?;
    }
    Ok((settings.list, notes))
}

fn softcaps(settings: &mut Settings, a: &Architecture) -> Result<()> {
    for (key, cap) in [("attn_logit_softcapping", a.attention_softcap), ("final_logit_softcapping", a.logit_softcap)] {
        match cap {
            Some(cap) if settings.gguf.softcaps => settings.float(key, cap),
            None if !settings.gguf.softcaps => {}
            _ => {
                let stated = cap.map_or_else(|| "null".to_owned(), |cap| cap.to_string());
                return Err(config_error(format!(
                    "{key} {stated} has no place in a GGUF file of a {} model",
                    settings.gguf.name
                )));
            }
        }
    }
    Ok(())
}

/// Layers with a window of attention must be those that llama.cpp takes for such: all but every `period`-th.
fn windows(settings: &mut Settings, a: &Architecture, notes: &mut Vec<String>) -> Result<()> {
    let window = a.blocks.iter().find_map(|block| block.window);
    let Some(period) = settings.gguf.window_period else {
        if let Some(window) = window.filter(|window| *window < a.max_positions) {
            notes.push(format!(
                "llama.cpp does not know the attention window of {window} tokens of this model: longer texts come out \
                 differently there"
            ));
        }
        return Ok(());
    };
    let usual = |layer: usize| !(layer + 1).is_multiple_of(period);
    if a.blocks.iter().enumerate().any(|(layer, block)| block.window.is_some() != usual(layer)) {
        return Err(config_error(format!(
            "layer_types differ from those of {}, whose order of attention windows llama.cpp takes for granted",
            settings.gguf.name
        )));
    }
    settings.number("attention.sliding_window", window.unwrap_or(a.max_positions));
    Ok(())
}

/// The rotary embedding; where layers with a window have one of their own it is the second.
fn rotary(settings: &mut Settings, a: &Architecture, ropes: &[Rope]) -> Result<()> {
    let Some((rope, in_windows)) = ropes.split_first() else { return Ok(()) };
    if settings.gguf.neighbours || rope.rotated(a.head_dim) < a.head_dim {
        settings.number("rope.dimension_count", rope.rotated(a.head_dim));
    }
    settings.float("rope.freq_base", rope.theta);
    for rope in in_windows {
        settings.float("rope.freq_base_swa", rope.theta);
        if rope.scaling != RopeScaling::Default {
            return Err(config_error("rotary scaling of the layers with a window has no place in a GGUF file"));
        }
    }
    match rope.scaling {
        RopeScaling::Default => {}
        RopeScaling::Linear { factor } => {
            settings.put("rope.scaling.type", Value::Text("linear".into()));
            settings.float("rope.scaling.factor", factor);
        }
        // The factors are a tensor of their own.
        RopeScaling::Llama3 { .. } if settings.gguf.neighbours => {}
        RopeScaling::Llama3 { .. } => {
            return Err(config_error("rotary scaling \"llama3\" has no place in a GGUF file of this family"));
        }
    }
    Ok(())
}
