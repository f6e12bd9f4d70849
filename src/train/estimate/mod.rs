//! The memory that a run takes, before it starts and without its weights.
//!
//! The optimizer step is played in sizes ([`step`]): every tensor that it would allocate is put to account, and the
//! fullest moment is the estimate. On a GPU this is the most that the allocator has in use
//! ([`ComputeDevice::memory`](crate::device::ComputeDevice::memory)); what it holds in reserve and what the driver takes
//! come on top. On the CPU it is the tensors' part of the process's memory: program, tokenizer and data come on top.

mod arena;
mod attention;
mod fit;
mod forward;
mod step;
mod tape;

use forward::Shape;
use step::{Batches, Work};
use tape::{Ledger, PARTS, Part};

pub use fit::settle;

use super::{evaluate::ROUND_TO, inputs::data_settings};
use crate::{
    Error, Result,
    config::{Recompute, RunConfig, Task},
    data::{Dataset, Split},
    device::{DeviceFacts, Kind},
    event::messages::Estimate,
    method::{self, Planned, adapter::Adapter},
    model::{Architecture, Transformer, head::HeadKind},
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
}

impl Rows {
    /// Those of a data set.
    pub fn of(dataset: &Dataset) -> Self {
        let longest = |split: &Split| split.lengths().into_iter().max().unwrap_or(0);
        let train = &dataset.train;
        let mut targets: Vec<usize> = (0..train.len()).map(|row| train.row_targets(row)).collect();
        targets.sort_unstable_by_key(|&count| std::cmp::Reverse(count));
        Self { longest: longest(train), targets, evaluated: dataset.valid.as_ref().map_or(0, longest) }
    }

    /// The most that the settings allow, where the data are not known.
    ///
    /// # Errors
    /// A length beyond the model's positions.
    pub fn unknown(config: &RunConfig, architecture: &Architecture) -> Result<Self> {
        let longest = data_settings(config, architecture.max_positions)?.max_seq_length;
        Ok(Self { longest, targets: Vec::new(), evaluated: longest })
    }

    /// The same rows cut to a length.
    fn cut(&self, most: usize) -> Self {
        Self {
            longest: self.longest.min(most),
            targets: self.targets.iter().map(|&count| count.min(most)).collect(),
            evaluated: self.evaluated.min(most),
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
        let head = match config.task {
            Task::CausalLm => HeadKind::LanguageModel,
            Task::Classify => HeadKind::Classifier(classes.max(2)),
        };
        let transformer = Transformer::outline(architecture.clone(), head);
        let initial = if config.init_adapter.as_os_str().is_empty() {
            Vec::new()
        } else {
            Adapter::read(&config.init_adapter)?.deltas(&transformer)?
        };
        let entry = method::find(&config.method)?;
        let planned = method::plan(entry, &config.method_config(), &initial, &transformer)?;
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
        // No batch has more rows than there are.
        let size = if rows.targets.is_empty() { choice.batch_size } else { choice.batch_size.min(rows.targets.len()) };
        let classify = self.config.task == Task::Classify;
        let shape = |width: usize, predictions: usize| Shape {
            rows: size as u64,
            width: width as u64,
            predictions: if classify { size } else { predictions } as u64,
        };
        let width = padded(rows.longest);
        let train = shape(width, rows.predictions(size, width));
        let work = Work {
            transformer: &self.transformer,
            planned: &self.planned,
            cpu: self.device.kind == Kind::Cpu,
            dropout: self.config.lora_dropout > 0.0,
        };
        let evaluated = padded(rows.evaluated);
        let evaluate = Shape { rows: choice.batch_size as u64, ..shape(evaluated, choice.batch_size * evaluated) };
        let ledger = match self.device.max_binding_bytes {
            Some(largest) => Ledger::of_gpu(largest),
            None => Ledger::default(),
        };
        let batches = Batches {
            train,
            accumulation: choice.accumulation,
            recompute: choice.recompute,
            evaluate: (rows.evaluated > 0).then_some(evaluate),
            calibrate: self.config.method == "sparta" && self.config.mask == "gradient",
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
