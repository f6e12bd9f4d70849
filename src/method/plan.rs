//! How many entries of which tensors the sparse method trains.

use super::{
    mask::{self, drawn::MaskSettings},
    targets,
};
use crate::{Error, Result, config::MethodConfig, model::Transformer};

/// Without any pattern the targets are the attention value and output projections (arXiv 2502.15975, section 4); with
/// only frozen patterns they are everything else.
fn default_targets(config: &MethodConfig, transformer: &Transformer) -> Vec<String> {
    if !config.target_modules.is_empty() || !config.frozen_modules.is_empty() {
        return config.target_modules.clone();
    }
    let a = &transformer.architecture;
    let value = if a.fused_qkv { a.names.fused_qkv } else { a.names.value };
    [value, a.names.output].map(|name| format!("{name}.weight")).to_vec()
}

/// How many entries of which tensors are trained.
pub(super) fn plan(config: &MethodConfig, transformer: &Transformer) -> Result<Vec<MaskSettings>> {
    let head = transformer.head.classifier_names();
    let mut names = targets::select(transformer, &default_targets(config, transformer), &config.frozen_modules)?;
    names.retain(|name| !head.contains(name));
    let mut masks: Vec<MaskSettings> = transformer
        .parameters()
        .iter()
        .filter(|p| names.contains(&p.name))
        .map(|p| MaskSettings { name: p.name.clone(), shape: p.dims.clone(), drawn: 0, rows: Vec::new() })
        .collect();
    let total = transformer.parameter_count();
    let rows_trained = whole_rows(config, transformer, &mut masks)?;
    let lengths: Vec<usize> = masks.iter().map(|mask| mask.len() - mask.rows.len() * mask.width()).collect();
    let targeted: Vec<usize> =
        masks.iter().zip(&lengths).map(|(mask, &len)| if names.contains(&mask.name) { len } else { 0 }).collect();
    // The bounds in messages are rounded to the side on which they are accepted.
    let counts = match (config.trainable_parameters, config.density) {
        (Some(wanted), _) => {
            let available: usize = targeted.iter().sum();
            if wanted > available + rows_trained || wanted < rows_trained {
                return Err(Error::input(format!(
                    "--trainable-parameters {wanted}: the target modules have {} parameters, of which --trainable-tokens \
                     takes {rows_trained}",
                    available + rows_trained
                )));
            }
            mask::spread(wanted - rows_trained, &targeted)
        }
        (None, Some(density)) => targeted.iter().map(|&len| (density * len as f64).round() as usize).collect(),
        (None, None) => {
            let wanted = ((1.0 - config.sparsity) * total as f64).round() as usize;
            let available: usize = targeted.iter().sum();
            if wanted > available + rows_trained {
                return Err(Error::input(format!(
                    "--sparsity {} asks for {wanted} trainable parameters, but the target modules have only {}; use a \
                     sparsity of at least {:.6}, or more --target-modules (for example all-linear)",
                    config.sparsity,
                    available + rows_trained,
                    (1e6 * (1.0 - (available + rows_trained) as f64 / total as f64)).ceil() / 1e6
                )));
            }
            if wanted < rows_trained {
                return Err(Error::input(format!(
                    "--trainable-tokens alone trains {rows_trained} parameters, more than the {wanted} that --sparsity \
                     {} allows; use a sparsity of at most {:.6}",
                    config.sparsity,
                    (1e6 * (1.0 - rows_trained as f64 / total as f64)).floor() / 1e6
                )));
            }
            mask::spread(wanted - rows_trained, &targeted)
        }
    };
    for (mask, count) in masks.iter_mut().zip(counts) {
        mask.drawn = count;
    }
    if masks.iter().all(|mask| mask.trained() == 0) {
        let largest = targeted.iter().copied().max().unwrap_or(0);
        return Err(Error::input(match config.density {
            Some(density) => format!(
                "--density {density} leaves nothing to train in target tensors of at most {largest} parameters; use a \
                 density above {:.9}",
                0.5 / largest as f64
            ),
            None => format!(
                "--sparsity {} leaves nothing to train in a model of {total} parameters; use a sparsity below {:.9}",
                config.sparsity,
                1.0 - 0.5 / total as f64
            ),
        }));
    }
    Ok(masks)
}

/// Marks the rows of `--trainable-tokens` in the embedding table's mask; returns how many entries they hold.
fn whole_rows(config: &MethodConfig, transformer: &Transformer, masks: &mut Vec<MaskSettings>) -> Result<usize> {
    if config.trainable_tokens.is_empty() {
        return Ok(0);
    }
    let table = &transformer.embeddings.tokens;
    let mut rows = config.trainable_tokens.clone();
    rows.sort_unstable();
    rows.dedup();
    if let Some(row) = rows.iter().find(|&&row| row as usize >= table.dims[0]) {
        return Err(Error::input(format!(
            "--trainable-tokens {row}: the vocabulary has only {} tokens, counted from 0",
            table.dims[0]
        )));
    }
    let entries = rows.len() * table.dims[1];
    match masks.iter_mut().find(|mask| mask.name == table.name) {
        Some(mask) => mask.rows = rows,
        None => masks.insert(0, MaskSettings { name: table.name.clone(), shape: table.dims.clone(), drawn: 0, rows }),
    }
    Ok(entries)
}
