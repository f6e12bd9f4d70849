//! Which parameters may be trained, by name patterns.

use super::change::layer_dims;
use crate::{
    Error, Result,
    config::MethodConfig,
    model::{Parameter, Transformer},
};

/// The word that means every linear weight but those of heads.
pub const ALL_LINEAR: &str = "all-linear";

/// Whether `pattern` occurs in `name`; `*` stands for any run of characters.
fn occurs(pattern: &str, name: &str) -> bool {
    let mut rest = name;
    pattern.split('*').all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

fn matches(pattern: &str, parameter: &Parameter) -> bool {
    if pattern == ALL_LINEAR {
        return parameter.is_linear();
    }
    occurs(pattern, &parameter.name)
}

/// Names of the parameters that match one of `targets` (empty: any) and none of `frozen`.
///
/// # Errors
/// A pattern that matches nothing, or nothing left to train.
pub fn select(transformer: &Transformer, targets: &[String], frozen: &[String]) -> Result<Vec<String>> {
    let parameters = transformer.parameters();
    for (option, patterns) in [("target-modules", targets), ("frozen-modules", frozen)] {
        if let Some(pattern) = patterns.iter().find(|pattern| !parameters.iter().any(|p| matches(pattern, p))) {
            return Err(Error::input(format!(
                "--{option} {pattern}: no parameter of this model has this in its name; there are {}",
                modules(&parameters)
            )));
        }
    }
    let selected: Vec<String> = parameters
        .iter()
        .filter(|p| targets.is_empty() || targets.iter().any(|pattern| matches(pattern, p)))
        .filter(|p| !frozen.iter().any(|pattern| matches(pattern, p)))
        .map(|p| p.name.clone())
        .collect();
    if selected.is_empty() {
        return Err(Error::input("--target-modules and --frozen-modules together leave nothing to train"));
    }
    Ok(selected)
}

/// A weight of a linear layer to adapt.
pub(super) struct Target {
    pub name: String,
    /// As the checkpoint has it.
    pub shape: Vec<usize>,
    pub outputs: usize,
    pub inputs: usize,
}

/// The weights of linear layers that `config` names for `method`, or by `default` names of modules, such as PEFT's.
///
/// # Errors
/// Patterns that match nothing, or no weight of a linear layer.
pub(super) fn linear(
    method: &str,
    config: &MethodConfig,
    default: &[&str],
    transformer: &Transformer,
) -> Result<Vec<Target>> {
    let default: Vec<String> = default.iter().map(|name| format!("{name}.weight")).collect();
    let asked = !config.target_modules.is_empty() || !config.frozen_modules.is_empty();
    let patterns = if asked { &config.target_modules } else { &default };
    let names = select(transformer, patterns, &config.frozen_modules)?;
    let target = |parameter: &Parameter| {
        let [outputs, inputs] = layer_dims(parameter).expect("linear weights are matrices");
        Target { name: parameter.name.clone(), shape: parameter.dims.clone(), outputs, inputs }
    };
    let all = transformer.parameters().into_iter();
    let targets: Vec<_> = all.filter(|p| p.is_linear() && names.contains(&p.name)).map(target).collect();
    if targets.is_empty() {
        return Err(Error::input(format!(
            "--method {method} adapts the weights of linear layers, and --target-modules names none"
        )));
    }
    Ok(targets)
}

/// Names of the modules that give queries and values, which PEFT adapts by default.
pub(super) fn queries_and_values(transformer: &Transformer) -> Vec<&'static str> {
    let a = &transformer.architecture;
    if a.fused_qkv { vec![a.names.fused_qkv] } else { vec![a.names.query, a.names.value] }
}

/// The distinct module names of a model, without layer numbers, for messages.
fn modules(parameters: &[&Parameter]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for parameter in parameters {
        let name = parameter.name.trim_end_matches(".weight").trim_end_matches(".bias");
        let last = name.rsplit('.').next().unwrap_or(name);
        if !names.contains(&last) {
            names.push(last);
        }
    }
    names.push(ALL_LINEAR);
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::occurs;

    #[test]
    fn patterns_are_parts_of_names_with_stars() {
        let name = "model.layers.3.self_attn.v_proj.weight";
        assert!(occurs("v_proj", name) && occurs("layers.3.*v_proj", name) && occurs("*", name));
        assert!(!occurs("q_proj", name) && !occurs("v_proj*layers", name));
    }
}
