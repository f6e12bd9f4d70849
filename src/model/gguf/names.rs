//! Where each tensor of a checkpoint goes in a GGUF file, and what is done to its values, by family.
//!
//! Names and conversions follow llama.cpp's converter of Hugging Face folders.

use serde_json::Value;

use super::error::config_error;
use crate::{Result, model::architecture::Fields};

/// Name of the embedding table.
pub const EMBEDDING: &str = "token_embd.weight";
/// Name of the factors of rotary frequencies.
pub const ROTARY: &str = "rope_freqs.weight";

/// The families that the format has a place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama and Mistral: queries and keys rotate neighbouring numbers, so their rows are re-ordered.
    Llama,
    /// Qwen 2 and 2.5.
    Qwen2,
    /// Qwen 3.
    Qwen3,
    /// Gemma 1: norms multiply by 1 + weight.
    Gemma,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3, text only.
    Gemma3,
    /// GPT-2: matrices are stored `[inputs, outputs]`.
    Gpt2,
}

/// `model_type` of `config.json`, family, and the name in the format.
const FAMILIES: &[(&str, Family, &str)] = &[
    ("llama", Family::Llama, "llama"),
    ("mistral", Family::Llama, "llama"),
    ("qwen2", Family::Qwen2, "qwen2"),
    ("qwen3", Family::Qwen3, "qwen3"),
    ("gemma", Family::Gemma, "gemma"),
    ("gemma2", Family::Gemma2, "gemma2"),
    ("gemma3_text", Family::Gemma3, "gemma3"),
    ("gpt2", Family::Gpt2, "gpt2"),
];

impl Family {
    /// The family of a `config.json`.
    ///
    /// # Errors
    /// A family that the format has no place for; the message lists the others.
    pub fn of(config: &Value) -> Result<Self> {
        let model_type = config["model_type"].as_str().unwrap_or_default();
        match FAMILIES.iter().find(|(name, ..)| *name == model_type) {
            Some((_, family, _)) => Ok(*family),
            None => {
                let names: Vec<_> = FAMILIES.iter().map(|(name, ..)| *name).collect();
                let names = names.join(", ");
                Err(config_error(format!("model_type \"{model_type}\" cannot be written as GGUF; these can: {names}")))
            }
        }
    }

    /// Its name in the format (`general.architecture`).
    pub fn name(self) -> &'static str {
        FAMILIES.iter().find(|(_, family, _)| *family == self).map_or("", |(.., name)| *name)
    }

    fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma | Self::Gemma2 | Self::Gemma3)
    }
}

/// A tensor's place, and what happens to its values on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Name in the file.
    pub name: String,
    /// Rows and columns change places.
    pub transposed: bool,
    /// Rows of so many heads are re-ordered so that rotated pairs are neighbours.
    pub rotary_heads: Option<usize>,
    /// Added to every number.
    pub added: f32,
    /// Then multiplies every number.
    pub factor: f32,
    /// Stays in f32 whatever the type of the file.
    pub precise: bool,
}

/// Modules of a block: in the checkpoint, in the file.
const DECODER: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];
/// The norm behind attention is the norm before the feed-forward layer, except where there are both.
const NORMS: &[(&str, &str)] = &[("post_attention_layernorm", "ffn_norm")];
const GEMMA_NORMS: &[(&str, &str)] = &[
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];
const GPT2: &[(&str, &str)] = &[
    ("ln_1", "attn_norm"),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("ln_2", "ffn_norm"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
];
/// Modules outside of the blocks.
const OUTER: &[(&str, &str)] =
    &[("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];
const GPT2_OUTER: &[(&str, &str)] =
    &[("wte", "token_embd"), ("wpe", "position_embd"), ("ln_f", "output_norm"), ("lm_head", "output")];

/// The place of a tensor; `None` for one that the file does not need (a tied head, a constant).
///
/// # Errors
/// A tensor that the format has no place for.
pub fn place(family: Family, config: &Value, name: &str) -> Result<Option<Placed>> {
    let fields = Fields { json: config };
    let tied = fields.flag_or("tie_word_embeddings", family.is_gemma() || family == Family::Gpt2)?;
    let constant = [".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"].iter().any(|end| name.ends_with(end));
    if constant || (tied && name == "lm_head.weight") {
        return Ok(None);
    }
    let unknown =
        || config_error(format!("the tensor {name} has no place in a GGUF file of a {} model", family.name()));
    let (module, kind) = name.rsplit_once('.').ok_or_else(unknown)?;
    let found = match family {
        // Older checkpoints have the names without the prefix.
        Family::Gpt2 => find(module.trim_start_matches("transformer."), "h.", &[GPT2], GPT2_OUTER),
        Family::Gemma2 | Family::Gemma3 => find(module, "model.layers.", &[DECODER, GEMMA_NORMS], OUTER),
        _ => find(module, "model.layers.", &[DECODER, NORMS], OUTER),
    };
    let placed = found.filter(|_| kind == "weight" || kind == "bias").ok_or_else(unknown)?;
    let last = placed.rsplit('.').next().unwrap_or_default();
    let heads = match (family, last) {
        (Family::Llama, "attn_q") => Some(fields.size("num_attention_heads")?),
        (Family::Llama, "attn_k") => {
            Some(fields.size_or("num_key_value_heads", Some(key_heads(config, fields.size("num_attention_heads")?)))?)
        }
        _ => None,
    };
    // Where queries are normalised the factor must come after the norm.
    let scaled = matches!((family, last), (Family::Gemma2, "attn_q") | (Family::Gemma3, "attn_q_norm"));
    Ok(Some(Placed {
        transposed: family == Family::Gpt2 && kind == "weight" && module.contains(".c_"),
        rotary_heads: heads,
        added: if family.is_gemma() && last.ends_with("norm") { 1.0 } else { 0.0 },
        factor: if scaled { query_factor(family, &fields)? } else { 1.0 },
        precise: last == "position_embd",
        name: format!("{placed}.{kind}"),
    }))
}

/// Mistral's configuration leaves out its eight key/value heads, Llama's means as many as query heads.
pub(super) fn key_heads(config: &Value, heads: usize) -> usize {
    if config["model_type"] == "mistral" { 8 } else { heads }
}

fn find(module: &str, layers: &str, inner: &[&[(&str, &str)]], outer: &[(&str, &str)]) -> Option<String> {
    if let Some((layer, module)) = module.strip_prefix(layers).and_then(|rest| rest.split_once('.')) {
        let layer: usize = layer.parse().ok()?;
        let (_, name) = inner.iter().copied().flatten().find(|(from, _)| *from == module)?;
        return Some(format!("blk.{layer}.{name}"));
    }
    outer.iter().find(|(from, _)| *from == module).map(|(_, name)| (*name).to_owned())
}

/// llama.cpp divides the queries of Gemma by a root that it takes from the size of the model; the configuration may ask
/// for another one (`query_pre_attn_scalar`). The rest goes into the weights; for the published models it is 1.
fn query_factor(family: Family, fields: &Fields) -> Result<f32> {
    let largest = if family == Family::Gemma2 { 46 } else { 62 };
    let head = fields.size_or("head_dim", Some(256))?;
    let assumed = match fields.size("num_hidden_layers")? {
        layers if layers == largest => fields.size("hidden_size")? / fields.size("num_attention_heads")?,
        _ => head,
    };
    let asked = fields.number_or("query_pre_attn_scalar", 256.0)?;
    Ok((assumed as f64 / asked).sqrt() as f32)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(config: &Value, tensor: &str) -> Option<String> {
        let family = Family::of(config).expect("a family");
        place(family, config, tensor).expect("a place").map(|placed| placed.name)
    }

    #[test]
    fn names_follow_the_family() {
        let llama = json!({"model_type": "llama", "num_attention_heads": 4, "tie_word_embeddings": true});
        assert_eq!(name(&llama, "model.layers.11.mlp.up_proj.weight").as_deref(), Some("blk.11.ffn_up.weight"));
        assert_eq!(
            name(&llama, "model.layers.0.post_attention_layernorm.weight").as_deref(),
            Some("blk.0.ffn_norm.weight")
        );
        assert_eq!(name(&llama, "lm_head.weight"), None);
        assert!(place(Family::Llama, &llama, "model.layers.0.mlp.experts.weight").is_err());
        assert!(place(Family::Llama, &llama, "score.weight").is_err());
        let gemma =
            json!({"model_type": "gemma2", "num_hidden_layers": 2, "head_dim": 16, "query_pre_attn_scalar": 64});
        let norm = "model.layers.3.post_attention_layernorm.weight";
        assert_eq!(name(&gemma, norm).as_deref(), Some("blk.3.post_attention_norm.weight"));
        let queries = place(Family::Gemma2, &gemma, "model.layers.3.self_attn.q_proj.weight").expect("a place");
        assert_eq!(queries.expect("needed").factor, 0.5);
        let gpt2 = json!({"model_type": "gpt2"});
        for prefix in ["", "transformer."] {
            let placed = place(Family::Gpt2, &gpt2, &format!("{prefix}h.1.attn.c_attn.weight")).expect("a place");
            let placed = placed.expect("needed");
            assert_eq!((&placed.name[..], placed.transposed), ("blk.1.attn_qkv.weight", true));
            assert_eq!(name(&gpt2, &format!("{prefix}h.1.attn.bias")), None);
            let table = place(Family::Gpt2, &gpt2, &format!("{prefix}wpe.weight")).expect("a place").expect("needed");
            assert_eq!((&table.name[..], table.precise), ("position_embd.weight", true));
        }
        assert!(Family::of(&json!({"model_type": "bert"})).expect_err("no").to_string().contains("\"bert\""));
    }
}
