//! The memory that a run takes, before it starts and without its weights.
//!
//! Model, method and optimizer step are the real ones, on a device that has sizes and no values
//! (`device::sizes_only`): what they allocate there is recorded, and the fullest moment is the estimate
//! (`account`). On a GPU that is what the allocator has in use, and as a part of its own what it holds beyond
//! ([`ComputeDevice::memory`](crate::device::ComputeDevice::memory)); only the driver's own memory comes on top.
//!
//! On the CPU device it is what the same operations would allocate on a GPU that has no limits. Program, tokenizer and data
//! come on top, and what the C library keeps of freed memory.

mod account;
mod estimator;
mod fit;
mod outline;
mod rows;

use account::{PARTS, Part};
use estimator::Estimator;

pub use fit::settle;
pub use outline::outline;
pub use rows::Rows;

use crate::{
    Result,
    config::{GradCheckpointing, RunConfig},
    device::{DeviceFacts, sizes_only::SizesOnly},
    event::messages::Estimate,
    model::Architecture,
};

/// The part of an estimate that a GPU's allocator holds beyond what is in use.
pub const PAGES: &str = PARTS[Part::Pages as usize];

/// The memory that the run of `config` would take on `device`, and what would make it fit if it does not.
///
/// `architecture` is that of [`read_architecture`](crate::model::pretrained::read_architecture); `classes` is the number
/// of classes (not read unless the task is to classify); `rows` are those of the data ([`Rows::of`]) or, where they are
/// not known yet, the most that the settings allow ([`Rows::unknown`]). The advice is empty exactly where the run fits.
/// Takes a fraction of a second.
///
/// # Errors
/// Settings and model that do not fit together.
pub fn estimate(
    config: &RunConfig,
    architecture: &Architecture,
    classes: usize,
    rows: &Rows,
    device: &DeviceFacts,
) -> Result<Estimate> {
    config.check()?;
    SizesOnly::with(device, |here| {
        let estimator = Estimator::new(config, architecture, classes, rows, here)?;
        let room = estimator.room(device.memory_bytes);
        let checkpointing = match config.grad_checkpointing {
            GradCheckpointing::On => true,
            GradCheckpointing::Off => false,
            GradCheckpointing::Auto => room.wants_checkpointing(&estimator)?,
        };
        let choice = estimator.as_set(checkpointing);
        let demand = estimator.demand(choice)?;
        let named = PARTS.iter().zip(demand.parts);
        Ok(Estimate {
            parts: named.filter(|(_, bytes)| *bytes > 0).map(|(name, bytes)| ((*name).to_owned(), bytes)).collect(),
            total_bytes: demand.total(),
            limit_bytes: device.memory_bytes,
            advice: if room.holds(&demand) { Vec::new() } else { room.advice(&estimator, choice, &demand)? },
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::{ComputeDevice, Kind},
        model::family,
    };

    /// A Llama of small prime-ish sizes, so that no two terms of a formula look alike.
    fn llama(layers: usize) -> Architecture {
        let config = serde_json::json!({
            "model_type": "llama", "vocab_size": 97, "hidden_size": 24, "intermediate_size": 40, "head_dim": 6,
            "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
            "max_position_embeddings": 64, "tie_word_embeddings": true,
        });
        family::describe(&config).expect("a Llama")
    }

    fn parts(config: &RunConfig, layers: usize, rows: &Rows, facts: &DeviceFacts) -> Vec<(String, u64)> {
        estimate(config, &llama(layers), 0, rows, facts).expect("an estimate").parts
    }

    fn part(parts: &[(String, u64)], name: &str) -> u64 {
        parts.iter().find(|(part, _)| part == name).map_or(0, |(_, bytes)| *bytes)
    }

    fn rows() -> Rows {
        Rows { longest: 16, targets: vec![15; 3], ..Rows::default() }
    }

    fn gpu() -> DeviceFacts {
        let largest = Some(128 << 20);
        DeviceFacts {
            kind: Kind::DiscreteGpu,
            max_binding_bytes: largest,
            memory_bytes: None,
            ..ComputeDevice::cpu().facts
        }
    }

    #[test]
    fn what_stays_between_steps_is_a_formula_of_the_trainable_parameters() {
        let model = outline(&RunConfig::default(), &llama(2), 0);
        let weights = 4 * model.parameter_count() as u64;
        // Every tensor begins at a multiple of this.
        let alignment = 256 * model.parameters().len() as u64;
        let (d, kv, blocks) = (24, 12, 2);
        // Queries and values of each block, two matrices each.
        let low_rank = 3 * (2 * d + d + kv) * blocks;
        for (method, trained, beside, moments) in [
            ("sparta", 500, 12 * 500, 8 * 500),
            ("lora", low_rank, 4 * low_rank, 8 * low_rank),
            ("full", weights / 4, 0, 2 * weights),
        ] {
            let trainable_parameters = if method == "sparta" { trained as usize } else { 0 };
            let config =
                RunConfig { method: method.into(), trainable_parameters, lora_rank: 3, ..RunConfig::default() };
            let parts = parts(&config, 2, &rows(), &gpu());
            for (name, bytes) in
                [("model weights", weights), ("trainable parameters", beside), ("optimizer moments", moments)]
            {
                let found = part(&parts, name);
                assert!((bytes..=bytes + 4 * alignment).contains(&found), "{method}: {name} {found}, not {bytes}");
            }
        }
    }

    #[test]
    fn a_further_block_keeps_what_its_backward_pass_reads() {
        let growth = |method: &str, checkpointing| {
            let config = RunConfig { method: method.into(), grad_checkpointing: checkpointing, ..RunConfig::default() };
            let of = |layers| part(&parts(&config, layers, &rows(), &gpu()), "activations");
            (of(7) - of(5)) / 2
        };
        let hidden = 3 * 16 * 24 * 4;
        let sparta = growth("sparta", GradCheckpointing::Off);
        // At least the inputs of both norms, queries and their mixture, gate and up.
        assert!(sparta > 6 * hidden, "{sparta}");
        assert!(growth("full", GradCheckpointing::Off) > sparta, "all linear layers keep their inputs");
        // Only a block's input is kept, and a few entries that are chosen from its weights.
        let checkpointed = growth("sparta", GradCheckpointing::On);
        assert!((hidden..hidden + hidden / 4).contains(&checkpointed), "{checkpointed}");
    }

    #[test]
    fn few_predictions_need_few_logits() {
        let config = RunConfig::default();
        let logits = |targets| part(&parts(&config, 1, &Rows { targets, ..rows() }, &gpu()), "logits and loss");
        let (few, all) = (logits(vec![2; 3]), logits(vec![15; 3]));
        assert!(all > 0 && few < all / 4, "{few} of {all}");
    }

    #[test]
    fn gradients_of_several_batches_are_summed() {
        let config = |accumulation| RunConfig {
            method: "full".into(),
            grad_accumulation_steps: accumulation,
            ..RunConfig::default()
        };
        let total = |accumulation| {
            let facts = ComputeDevice::cpu().facts;
            estimate(&config(accumulation), &llama(1), 0, &rows(), &facts).expect("an estimate").total_bytes
        };
        assert!(total(2) > total(1) && total(5) == total(2));
    }
}
