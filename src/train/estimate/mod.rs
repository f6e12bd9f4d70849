//! The memory that a run takes, before it starts and without its weights.
//!
//! The optimizer step is played in sizes (`step`): every tensor that it would allocate is put to account, and the
//! fullest moment is the estimate. On a GPU that is what the allocator has in use, and as a part of its own what it holds
//! beyond ([`ComputeDevice::memory`](crate::device::ComputeDevice::memory)); only the driver's own memory comes on top. On
//! the CPU it is the tensors' part of the process's memory: program, tokenizer and data come on top, and what the C library
//! keeps of freed memory. Measured with `agoge bench step --device cpu`, a process grew by a sixth more than estimated in
//! steps of gigabytes, and to as much as twice the estimate in steps of a few hundred megabytes.

mod arena;
mod attention;
mod fit;
mod forward;
mod planned;
mod split;
mod step;
mod tape;

use forward::Shape;
use planned::{Planned, plan};
use step::{Batches, Work};
use tape::{Ledger, PARTS, Part};

pub use fit::settle;

use super::{
    evaluate::ROUND_TO,
    inputs::{data_settings, keeping},
    objective::positions_at_once,
};
use crate::{
    Error, Result,
    config::{Init, Recompute, RunConfig, Task},
    data::{Dataset, Split},
    device::{DeviceFacts, Kind},
    event::messages::Estimate,
    method::{self, adapter::Adapter, mask},
    model::{Architecture, Keeping, Transformer, head::HeadKind},
};

/// The part of an estimate that a GPU's allocator holds beyond what is in use.
pub const PAGES: &str = PARTS[Part::Pages as usize];

/// What memory needs to know of the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Tokens of the longest row to train on.
    pub longest: usize,
    /// Predictions that count in each row to train on, most first; empty where all may count.
    pub targets: Vec<usize>,
    /// Tokens of the longest row to evaluate; 0 where there is none.
    pub evaluated: usize,
    /// How many rows there are to evaluate at most.
    pub evaluated_rows: usize,
}

/// Most tokens of a batch that are counted: far beyond any device, but not beyond 64-bit numbers of bytes.
const MOST_TOKENS: usize = 1 << 26;

impl Rows {
    /// Those of a data set.
    pub fn of(dataset: &Dataset) -> Self {
        let longest = |split: &Split| split.lengths().into_iter().max().unwrap_or(0);
        let train = &dataset.train;
        let mut targets: Vec<usize> = (0..train.len()).map(|row| train.row_targets(row)).collect();
        targets.sort_unstable_by_key(|&count| std::cmp::Reverse(count));
        let (evaluated, evaluated_rows) = dataset.valid.as_ref().map_or((0, 0), |valid| (longest(valid), valid.len()));
        Self { longest: longest(train), targets, evaluated, evaluated_rows }
    }

    /// The most that the settings allow, where the data are not known.
    ///
    /// # Errors
    /// A length beyond the model's positions.
    pub fn unknown(config: &RunConfig, architecture: &Architecture) -> Result<Self> {
        let longest = data_settings(config, architecture.max_positions)?.max_seq_length;
        Ok(Self { longest, targets: Vec::new(), evaluated: longest, evaluated_rows: usize::MAX })
    }

    /// The same rows cut to a length.
    fn cut(&self, most: usize) -> Self {
        Self {
            longest: self.longest.min(most),
            targets: self.targets.iter().map(|&count| count.min(most)).collect(),
            evaluated: self.evaluated.min(most),
            ..*self
        }
    }

    /// Predictions that count in a batch of `rows` rows at most.
    fn predictions(&self, rows: usize, width: usize) -> usize {
        if self.targets.is_empty() { rows * width } else { self.targets.iter().take(rows).sum() }
    }
}

/// The settings that memory can be traded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Choice {
    batch_size: usize,
    accumulation: usize,
    recompute: bool,
    /// Most tokens of a row; 0 for as many as it has.
    cut: usize,
}

/// What a choice takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Demand {
    /// Bytes of each of [`PARTS`] at the fullest moment.
    parts: [u64; PARTS.len()],
    /// Bytes of the largest tensor.
    largest: u64,
}

impl Demand {
    fn total(&self) -> u64 {
        self.parts.iter().sum()
    }
}

/// The model of a run without values. Where the classes are not known there are two.
pub fn outline(config: &RunConfig, architecture: &Architecture, classes: usize) -> Transformer {
    let head = match config.task {
        Task::CausalLm => HeadKind::LanguageModel,
        Task::Classify => HeadKind::Classifier(classes.max(2)),
    };
    Transformer::outline(architecture.clone(), head)
}

/// A run whose demand can be asked for under several choices.
struct Estimator<'a> {
    config: &'a RunConfig,
    transformer: Transformer,
    planned: Vec<Planned>,
    rows: &'a Rows,
    device: &'a DeviceFacts,
}

impl<'a> Estimator<'a> {
    fn new(
        config: &'a RunConfig,
        architecture: &Architecture,
        classes: usize,
        rows: &'a Rows,
        device: &'a DeviceFacts,
    ) -> Result<Self> {
        config.check()?;
        let transformer = outline(config, architecture, classes);
        let initial = if config.init_adapter.as_os_str().is_empty() {
            Vec::new()
        } else {
            Adapter::read(&config.init_adapter)?.changes(&transformer)?
        };
        let entry = method::find(&config.method)?;
        let planned = plan(entry, &config.method_config(), initial, &transformer)?;
        if rows.longest == 0 {
            return Err(Error::input("there are no rows to train on"));
        }
        Ok(Self { config, transformer, planned, rows, device })
    }

    /// What the settings themselves say, with blocks recomputed or not.
    fn as_set(&self, recompute: bool) -> Choice {
        let (batch_size, accumulation) = (self.config.batch_size, self.config.grad_accumulation_steps);
        Choice { batch_size, accumulation, recompute, cut: 0 }
    }

    /// How the weights are kept: fresh ones, and all on the CPU device, in f32.
    fn keeping(&self) -> Keeping {
        let f32 = self.device.kind == Kind::Cpu || self.config.init == Init::Random;
        if f32 { Keeping::F32 } else { keeping(self.config) }
    }

    fn demand(&self, choice: Choice) -> Demand {
        let cut;
        let rows = if choice.cut == 0 {
            self.rows
        } else {
            cut = self.rows.cut(choice.cut);
            &cut
        };
        let most = self.transformer.architecture.max_positions;
        let padded = |length: usize| length.next_multiple_of(ROUND_TO).min(most);
        let classify = self.config.task == Task::Classify;
        // No batch has more rows than there are.
        let shape = |longest: usize, there: usize, training: bool| {
            let width = padded(longest);
            let size = choice.batch_size.min(there).min((MOST_TOKENS / width).max(1));
            let predictions = match (classify, training) {
                (true, _) => size,
                (false, true) => rows.predictions(size, width),
                (false, false) => size * width,
            };
            Shape { rows: size as u64, width: width as u64, predictions: predictions as u64 }
        };
        let there = if rows.targets.is_empty() { usize::MAX } else { rows.targets.len() };
        let work = Work {
            transformer: &self.transformer,
            planned: &self.planned,
            cpu: self.device.kind == Kind::Cpu,
            software: self.device.kind == Kind::SoftwareGpu,
            keeping: self.keeping(),
            dropout: self.config.lora_dropout > 0.0,
            at_once: positions_at_once(self.transformer.architecture.vocab_size, self.device),
            binding: self.device.max_binding_bytes,
        };
        let ledger = match self.device.max_binding_bytes {
            Some(largest) => Ledger::of_gpu(largest),
            None => Ledger::default(),
        };
        let batches = Batches {
            train: shape(rows.longest, there, true),
            accumulation: choice.accumulation,
            recompute: choice.recompute,
            evaluate: (rows.evaluated > 0).then(|| shape(rows.evaluated, rows.evaluated_rows, false)),
            calibrate: method::find(&self.config.method).is_ok_and(|entry| entry.settings.contains(&"mask"))
                && self.config.mask == mask::GRADIENT,
        };
        work.play(&ledger, batches);
        Demand { parts: ledger.peak(), largest: ledger.largest() }
    }
}

/// The memory that the run of `config` would take on `device`, and what would make it fit if it does not.
///
/// `architecture` is that of [`read_architecture`](crate::model::pretrained::read_architecture); `classes` is the number
/// of classes (not read unless the task is to classify); `rows` are those of the data ([`Rows::of`]) or, where they are
/// not known yet, the most that the settings allow ([`Rows::unknown`]). The advice is empty exactly where the run fits.
/// Takes milliseconds.
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
    let estimator = Estimator::new(config, architecture, classes, rows, device)?;
    let room = estimator.room(estimator.device.memory_bytes);
    let recompute = match config.grad_checkpointing {
        Recompute::On => true,
        Recompute::Off => false,
        Recompute::Auto => room.wants_recompute(&estimator),
    };
    let choice = estimator.as_set(recompute);
    let demand = estimator.demand(choice);
    let named = PARTS.iter().zip(demand.parts);
    Ok(Estimate {
        parts: named.filter(|(_, bytes)| *bytes > 0).map(|(name, bytes)| ((*name).to_owned(), bytes)).collect(),
        total_bytes: demand.total(),
        limit_bytes: device.memory_bytes,
        advice: if room.holds(&demand) { Vec::new() } else { room.advice(&estimator, choice, &demand) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device::ComputeDevice, model::family};

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
    fn what_stays_between_steps_is_a_formula_of_the_trained_numbers() {
        let weights = 4 * llama(2).parameters() as u64;
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
            let found = ["model weights", "trained numbers", "optimizer moments"].map(|name| part(&parts, name));
            assert_eq!(found, [weights, beside, moments], "{method}");
        }
    }

    #[test]
    fn a_further_block_keeps_what_its_backward_pass_reads() {
        let (tokens, d, kv, f, heads) = (3 * 16, 24, 12, 40, 4);
        let growth = |method: &str, recompute| {
            let config = RunConfig { method: method.into(), grad_checkpointing: recompute, ..RunConfig::default() };
            let of = |layers| part(&parts(&config, layers, &rows(), &gpu()), "activations");
            (of(5) - of(4)) / 4
        };
        // Inputs of both norms, queries, keys, values, their mixture, a number a head, gate and up. The trained value
        // projection keeps its input as well; that of the output projection is the mixture.
        let frozen = 2 * d + d + 2 * kv + d + heads + 2 * f;
        assert_eq!(growth("sparta", Recompute::Off), tokens * (frozen + d));
        // All linear layers keep their inputs: three of them share one, the two of the feed-forward part another.
        assert_eq!(growth("full", Recompute::Off), tokens * (frozen + d + d + f));
        assert_eq!(growth("sparta", Recompute::On), tokens * d);
        // Dense gradients outgrow the kept inputs: the fullest moment is that of the first block, whatever their number.
        assert_eq!(growth("full", Recompute::On), 0);
    }

    #[test]
    fn few_predictions_need_few_logits() {
        let config = RunConfig::default();
        let logits = |targets| part(&parts(&config, 1, &Rows { targets, ..rows() }, &gpu()), "logits and loss");
        let few = logits(vec![2; 3]);
        assert!(few > 0 && few < logits(vec![15; 3]) / 4, "{few}");
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
