//! Which parameters may be trained, by name patterns.

use crate::{
    Error, Result,
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
