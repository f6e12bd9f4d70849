//! Where each tensor of a checkpoint goes in a GGUF file, and what is done to its values.
//!
//! Names and conversions follow llama.cpp's converter of Hugging Face folders.

use super::error::config_error;
use crate::{
    Result,
    model::{
        architecture::{Architecture, NormKind},
        family::{Family, Gguf, left_over},
        names::Names,
    },
};

/// Name of the embedding table.
pub const EMBEDDING: &str = "token_embd.weight";
/// Name of the factors of rotary frequencies.
pub const ROTARY: &str = "rope_freqs.weight";

/// A tensor's place, and what happens to its values on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Name in the file.
    pub name: String,
    /// Rows and columns change places.
    pub transposed: bool,
    /// Rows of so many heads are re-ordered so that rotated pairs are neighbours.
    pub rotary_heads: Option<usize>,
    /// Rows of query, key and value of so many heads are re-ordered so that all queries come first.
    pub split_heads: Option<usize>,
    /// Added to every value.
    pub added: f32,
    /// Then multiplies every value.
    pub factor: f32,
    /// Stays in f32 whatever the type of the file.
    pub precise: bool,
}

/// Modules of a block: in the checkpoint, in the file.
fn in_blocks(names: &Names) -> [(&'static str, &'static str); 14] {
    [
        (names.attention_norm, "attn_norm"),
        (names.fused_qkv, "attn_qkv"),
        (names.query, "attn_q"),
        (names.key, "attn_k"),
        (names.value, "attn_v"),
        (names.output, "attn_output"),
        (names.query_norm, "attn_q_norm"),
        (names.key_norm, "attn_k_norm"),
        (names.attention_output_norm, "post_attention_norm"),
        (names.feed_forward_norm, "ffn_norm"),
        (names.gate, "ffn_gate"),
        (names.up, "ffn_up"),
        (names.down, "ffn_down"),
        (names.feed_forward_output_norm, "post_ffw_norm"),
    ]
}

/// The place of a tensor; `None` for one that the file does not need (a tied head, a constant).
///
/// # Errors
/// A tensor that the format has no place for.
pub fn place(family: &Family, gguf: &Gguf, a: &Architecture, name: &str) -> Result<Option<Placed>> {
    let unknown = || config_error(format!("the tensor {name} has no place in a GGUF file of a {} model", gguf.name));
    let (module, kind) = name.rsplit_once('.').ok_or_else(unknown)?;
    if left_over::kind(family, name).is_some() || (a.tied_head && module == a.names.head) {
        return Ok(None);
    }
    let placed = find(module, a.names).filter(|_| kind == "weight" || kind == "bias").ok_or_else(unknown)?;
    let last = placed.rsplit('.').next().unwrap_or_default();
    let rotary_heads = match last {
        "attn_q" => Some(a.heads),
        "attn_k" => Some(a.kv_heads),
        _ => None,
    };
    let factor = match gguf.score_factor {
        Some((part, largest)) if part == last => score_factor(a, largest),
        _ => 1.0,
    };
    let offset = a.norm == NormKind::RmsOffset && last.ends_with("norm");
    Ok(Some(Placed {
        transposed: a.transposed && kind == "weight" && placed.starts_with("blk.") && !last.ends_with("norm"),
        rotary_heads: rotary_heads.filter(|_| gguf.neighbours),
        split_heads: (a.qkv_by_head && last == "attn_qkv").then_some(a.heads),
        added: if offset { 1.0 } else { 0.0 },
        factor,
        precise: last == "position_embd",
        name: format!("{placed}.{kind}"),
    }))
}

/// Name in the file of a module of the checkpoint. Checkpoints of headless models have the names without the prefix.
fn find(module: &str, names: &Names) -> Option<String> {
    if module == names.head {
        return Some("output".into());
    }
    let inner = module.strip_prefix(names.prefix).unwrap_or(module);
    if let Some((layer, part)) = inner.strip_prefix(names.block).and_then(|rest| rest.split_once('.')) {
        let layer: usize = layer.parse().ok()?;
        let (_, name) = in_blocks(names).into_iter().find(|(from, _)| *from == part)?;
        return Some(format!("blk.{layer}.{name}"));
    }
    let outer = [(names.embedding, "token_embd"), (names.positions, "position_embd"), (names.norm, "output_norm")];
    outer.into_iter().find(|(from, _)| *from == inner).map(|(_, name)| name.to_owned())
}

/// llama.cpp divides the queries of Gemma by a root that it takes from the size of the model; the configuration may ask
/// for another one (`query_pre_attn_scalar`). The rest goes into the weights; for the published models it is 1.
fn score_factor(a: &Architecture, largest: usize) -> f32 {
    let assumed = if a.layers() == largest { a.hidden_size / a.heads } else { a.head_dim };
    ((assumed as f64).sqrt() * a.attention_scale) as f32
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::family;

    fn placed(more: Value, tensor: &str) -> Result<Option<Placed>> {
        let mut config = json!({
            "vocab_size": 8, "hidden_size": 32, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4,
        });
        config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let a = family::describe(&config).expect("a model");
        let family = family::find(&a.model_type).expect("a family");
        place(family, family.gguf.as_ref().expect("a family of the format"), &a, tensor)
    }

    fn found(more: &Value, tensor: &str) -> Placed {
        placed(more.clone(), tensor).expect("a place").expect("needed")
    }

    #[test]
    fn names_follow_the_family() {
        let llama = json!({"model_type": "llama", "tie_word_embeddings": true});
        assert_eq!(found(&llama, "model.layers.11.mlp.up_proj.weight").name, "blk.11.ffn_up.weight");
        assert_eq!(found(&llama, "model.layers.0.post_attention_layernorm.weight").name, "blk.0.ffn_norm.weight");
        assert_eq!(found(&llama, "model.layers.0.self_attn.k_proj.weight").rotary_heads, Some(4));
        for constant in ["lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"] {
            assert_eq!(placed(llama.clone(), constant).expect("a place"), None);
        }
        assert!(placed(llama.clone(), "model.layers.0.mlp.experts.weight").is_err());
        assert!(placed(llama, "score.weight").is_err());
        let gemma = json!({"model_type": "gemma2", "head_dim": 16, "query_pre_attn_scalar": 64});
        let norm = found(&gemma, "model.layers.3.post_attention_layernorm.weight");
        assert_eq!((&norm.name[..], norm.added), ("blk.3.post_attention_norm.weight", 1.0));
        assert_eq!(found(&gemma, "model.layers.3.self_attn.q_proj.weight").factor, 0.5);
        let olmo = json!({"model_type": "olmo2"});
        let norm = found(&olmo, "model.layers.1.post_feedforward_layernorm.weight");
        assert_eq!((&norm.name[..], norm.added), ("blk.1.post_ffw_norm.weight", 0.0));
        let neox = json!({"model_type": "gpt_neox"});
        let fused = found(&neox, "gpt_neox.layers.1.attention.query_key_value.bias");
        assert_eq!((&fused.name[..], fused.split_heads), ("blk.1.attn_qkv.bias", Some(4)));
        assert_eq!(found(&neox, "embed_out.weight").name, "output.weight");
        assert_eq!(placed(neox, "gpt_neox.layers.1.attention.bias").expect("a place"), None);
        let gpt2 = json!({"model_type": "gpt2", "n_layer": 2, "vocab_size": 8, "hidden_size": null, "intermediate_size": null,
            "num_hidden_layers": null, "num_attention_heads": null});
        for prefix in ["", "transformer."] {
            let fused = found(&gpt2, &format!("{prefix}h.1.attn.c_attn.weight"));
            assert_eq!((&fused.name[..], fused.transposed), ("blk.1.attn_qkv.weight", true));
            assert!(!found(&gpt2, &format!("{prefix}h.1.ln_1.weight")).transposed);
            assert_eq!(placed(gpt2.clone(), &format!("{prefix}h.1.attn.bias")).expect("a place"), None);
            let table = found(&gpt2, &format!("{prefix}wpe.weight"));
            assert_eq!((&table.name[..], table.precise, table.transposed), ("position_embd.weight", true, false));
        }
    }
}
