//! PEFT's LoRA (Hu et al. 2021): `lora_A` `[R, inputs]` and `lora_B` `[outputs, R]` of each adapted module.

use serde_json::{Map, Value, json};

use super::peft_parts::{self as peft, Config, Part};
use crate::{
    Result,
    method::{
        adapter::{Adapter, Export},
        change::{Change, TensorChange, layer_dims},
        dora,
    },
    model::{Role, Transformer},
};

const A: &str = ".lora_A.weight";
const B: &str = ".lora_B.weight";
/// Embedding tables store their pair the other way round: `[R, V]` and `[D, R]`.
const TABLE_A: &str = ".lora_embedding_A";
const TABLE_B: &str = ".lora_embedding_B";
/// DoRA's magnitudes `[outputs]`.
const MAGNITUDE: &str = ".lora_magnitude_vector";

/// Whether a tensor of the file is one of a pair.
pub(super) fn is_part(name: &str) -> bool {
    [A, B, TABLE_A, TABLE_B, MAGNITUDE].iter().any(|ending| name.ends_with(ending))
}

pub(super) fn changes(adapter: &Adapter, transformer: &Transformer) -> Result<Vec<TensorChange>> {
    let mut changes = Vec::new();
    for (a, b, table) in [(A, B, false), (TABLE_A, TABLE_B, true)] {
        if let Some(alone) =
            peft::modules(adapter, b)?.iter().find(|module| peft::dims(adapter, &format!("{module}{a}")).is_empty())
        {
            return Err(adapter.error(format!("{alone} has {b} but no {a}")));
        }
        for module in peft::modules(adapter, a)? {
            changes.push(change(adapter, transformer, &module, (a, b), table)?);
        }
    }
    Ok(changes)
}

fn change(
    adapter: &Adapter,
    transformer: &Transformer,
    module: &str,
    (a, b): (&str, &str),
    table: bool,
) -> Result<TensorChange> {
    let (a, b) = (format!("{module}{a}"), format!("{module}{b}"));
    let ([rank, inputs], [outputs, again]) = (peft::dims(adapter, &a), peft::dims(adapter, &b)) else {
        return Err(adapter.error(format!("{module}: {a} and {b} are not two matrices")));
    };
    let (rank, inputs, outputs) = (*rank, *inputs, *outputs);
    if rank != *again || rank == 0 {
        return Err(adapter.error(format!("{module}: {a} has rank {rank}, {b} has {again}")));
    }
    let (a, b) = (peft::part(adapter, &a)?, peft::part(adapter, &b)?);
    let scale = scale(adapter, module, rank)?;
    let name = format!("{module}.weight");
    let parameters = transformer.parameters();
    let parameter = parameters.iter().find(|parameter| parameter.name == name);
    // The shape that the pair implies, as the model stores it, so that a mismatch shows both.
    let stored_transposed = parameter.is_some_and(|p| layer_dims(p) != Some([p.dims[0], p.dims[p.dims.len() - 1]]));
    let (shape, a, b) = match table {
        // (B A)^T of the table is one pair of the plain kind: A' = B^T, B' = A^T.
        true => (vec![inputs, outputs], transpose(&b, rank), transpose(&a, inputs)),
        false if stored_transposed => (vec![inputs, outputs], a, b),
        false => (vec![outputs, inputs], a, b),
    };
    let magnitude = format!("{module}{MAGNITUDE}");
    let change = match (peft::dims(adapter, &magnitude), adapter.info.settings["use_dora"] == true) {
        ([], false) => Change::LowRank { rank, a, b, scale },
        ([_], true) if !table => dora::change(&name, rank, scale, [a, b, peft::part(adapter, &magnitude)?]),
        _ => {
            return Err(adapter.error(format!(
                "{module}: DoRA (use_dora) needs {magnitude}, one number an output of a linear layer, and nothing else does"
            )));
        }
    };
    Ok(TensorChange { name, shape, change })
}

/// `[columns, rows]` of a matrix `[rows, columns]`.
fn transpose(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
}

/// Factor on the product: alpha / R, or alpha / sqrt(R) for rsLoRA (Kalajdzievski 2023), with the alpha of the module.
fn scale(adapter: &Adapter, module: &str, rank: usize) -> Result<f32> {
    let config = &adapter.info.settings;
    let alpha = pattern(&config["alpha_pattern"], module).unwrap_or(&config["lora_alpha"]);
    let Some(alpha) = alpha.as_f64().filter(|alpha| alpha.is_finite()) else {
        return Err(adapter.error("adapter_config.json: lora_alpha is missing or not a number"));
    };
    // The matrices say their rank themselves; one that the description contradicts was damaged.
    let told = pattern(&config["rank_pattern"], module).unwrap_or(&config["r"]).as_u64();
    if told != Some(rank as u64) {
        return Err(adapter.error(format!(
            "{module} has matrices of rank {rank}, but adapter_config.json says {}",
            told.map_or("nothing of it".to_owned(), |rank| rank.to_string())
        )));
    }
    let root = config["use_rslora"].as_bool().unwrap_or(false);
    Ok((alpha / if root { (rank as f64).sqrt() } else { rank as f64 }) as f32)
}

/// The entry of a pattern table for a module: its key is the end of the module's name.
fn pattern<'a>(table: &'a Value, module: &str) -> Option<&'a Value> {
    let table = table.as_object()?;
    let key = table.keys().find(|key| {
        let key = key.trim_start_matches('^').trim_end_matches('$');
        module == key || module.ends_with(&format!(".{key}"))
    });
    key.and_then(|key| table.get(key))
}

pub(super) fn write(export: &Export) -> Result<(Vec<Part>, Config)> {
    let parameters = export.base.transformer.parameters();
    let mut parts = Vec::new();
    let (mut ranks, mut alphas) = (Vec::new(), Vec::new());
    let mut fan_in_fan_out = false;
    let use_dora = export.hooked().next().is_some();
    for tensor in &export.changes {
        let (rank, a, b, scale, magnitude) = match (&tensor.change, dora::parts(&tensor.change)) {
            (Change::LowRank { rank, a, b, scale }, _) => (*rank, &a[..], &b[..], *scale, None),
            (_, Some((rank, scale, [a, b, magnitude]))) => (rank, a, b, scale, Some(magnitude)),
            _ => continue,
        };
        if magnitude.is_some() != use_dora {
            return Err(export
                .adapter
                .error("some layers of this adapter are DoRA's and some are not, which PEFT does not know"));
        }
        let parameter = parameters.iter().find(|p| p.name == tensor.name && p.role == Role::Linear);
        let layer = parameter.and_then(|p| layer_dims(p));
        let Some([outputs, inputs]) = layer else { return Err(peft::no_layer(export, tensor, "LoRA")) };
        fan_in_fan_out |= layer != Some([tensor.shape[0], tensor.shape[1]]);
        let module = peft::module(&tensor.name);
        parts.push(peft::floats(format!("{module}{A}"), vec![rank, inputs], a)?);
        parts.push(peft::floats(format!("{module}{B}"), vec![outputs, rank], b)?);
        if let Some(magnitude) = magnitude {
            parts.push(peft::floats(format!("{module}{MAGNITUDE}"), vec![outputs], magnitude)?);
        }
        ranks.push((module.to_owned(), json!(rank)));
        alphas.push((module.to_owned(), number(f64::from(scale) * rank as f64)));
    }
    let common = |list: &[(String, Value)]| list.first().map_or(Value::Null, |(_, value)| value.clone());
    let (rank, alpha) = (common(&ranks), common(&alphas));
    let others = |list: Vec<(String, Value)>, common: &Value| -> Value {
        Value::Object(list.into_iter().filter(|(_, value)| value != common).collect::<Map<_, _>>())
    };
    let config = [
        ("alpha_pattern", others(alphas, &alpha)),
        ("bias", "none".into()),
        ("fan_in_fan_out", fan_in_fan_out.into()),
        ("init_lora_weights", true.into()),
        ("layers_pattern", Value::Null),
        ("layers_to_transform", Value::Null),
        ("lora_alpha", alpha),
        ("lora_dropout", json!(0.0)),
        ("peft_type", "LORA".into()),
        ("r", rank.clone()),
        ("rank_pattern", others(ranks, &rank)),
        ("use_dora", use_dora.into()),
        ("use_rslora", false.into()),
    ];
    Ok((parts, config.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()))
}

/// A whole number where it is one, as PEFT writes alphas.
fn number(value: f64) -> Value {
    // The scale is stored in f32: undo its rounding where the product was meant to be whole.
    let whole = value.round();
    if (value - whole).abs() < 1e-6 * whole.abs().max(1.0) { json!(whole as i64) } else { json!(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_the_ends_of_names() {
        let table = json!({"layers.1.mlp.up_proj": 3, "q_proj": 8});
        assert_eq!(pattern(&table, "model.layers.1.mlp.up_proj"), Some(&json!(3)));
        assert_eq!(pattern(&table, "model.layers.0.self_attn.q_proj"), Some(&json!(8)));
        assert_eq!(pattern(&table, "model.layers.11.mlp.up_proj"), None);
        assert_eq!(pattern(&table, "model.layers.0.self_attn.eq_proj"), None);
        assert_eq!((number(8.0), number(7.999_999_9), number(2.5)), (json!(8), json!(8), json!(2.5)));
    }

    #[test]
    fn a_matrix_is_transposed() {
        assert_eq!(transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
