//! A run whose demand can be asked for under several choices: its model and method on a device that has only sizes.

use std::{cell::RefCell, collections::HashMap};

use bytemuck::Zeroable;

use super::{
    Rows,
    account::{Demand, GRADIENTS_ARE_THERE, Known, Story, walk},
    outline::head,
    rows::Fullest,
};
use crate::{
    Error, Result,
    config::{Init, RunConfig, Task},
    data::Batch,
    device::{
        DeviceFacts, Kind,
        sizes_only::{Event, SizesOnly, at_once},
    },
    kernel::{self, AdamW, Packing},
    method::{self, Setup, TrainedTensor, Training, adapter::Adapter, dense_gradients, mask},
    model::{Architecture, Keeping, Transformer},
    train::{evaluate::forward, inputs::keeping, objective::Prepared, step::optimizer_step_observed as observed},
};

/// Numbers of the largest activations of a batch, and its tokens, that are recorded at most: far beyond any device. Shaders
/// count in 32 bits. What larger batches take is worked out from two smaller ones.
const MOST: [usize; 2] = [1 << 31, 1 << 18];

/// The settings that memory can be traded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Choice {
    pub batch_size: usize,
    pub accumulation: usize,
    pub checkpointing: bool,
    /// Most tokens of a row; 0 for as many as it has.
    pub cut: usize,
}

/// A run before its first step.
struct Started {
    transformer: Transformer,
    training: Training,
}

/// A run whose demand can be asked for under several choices.
pub(super) struct Estimator<'a> {
    config: &'a RunConfig,
    here: &'a SizesOnly,
    pub rows: &'a Rows,
    started: RefCell<Started>,
    /// What happened while the model was loaded, and while the method started.
    load: Vec<Event>,
    start: Vec<Event>,
    /// Tensors that a gradient mask chooses from.
    calibrated: Vec<String>,
    demands: RefCell<HashMap<Choice, Demand>>,
}

impl<'a> Estimator<'a> {
    pub(super) fn new(
        config: &'a RunConfig,
        architecture: &Architecture,
        classes: usize,
        rows: &'a Rows,
        here: &'a SizesOnly,
    ) -> Result<Self> {
        if rows.longest == 0 {
            return Err(Error::input("there are no rows to train on"));
        }
        let device = &here.device;
        kernel::forget_parameters(&device.handle);
        // Fresh weights, and all on the CPU device, are in f32.
        let f32 = device.facts.kind == Kind::Cpu || config.init == Init::Random;
        let keeping = if f32 { Keeping::F32 } else { keeping(config) };
        let (architecture, head) = (architecture.clone(), head(config, classes));
        let (mut transformer, load) =
            here.recorded(|| Ok(Transformer::without_values(architecture, head, keeping, device)))?;
        let method_config = config.method_config();
        let entry = method::find(&config.method)?;
        let mut setup = Setup { sizes_only: true, ..Setup::new(&method_config, device, config.seed) };
        if !config.init_adapter.as_os_str().is_empty() {
            setup.initial = Adapter::read(&config.init_adapter)?.changes(&transformer)?;
        }
        let by_gradient = entry.settings.contains(&"mask") && config.mask == mask::GRADIENT && setup.initial.is_empty();
        let (training, start) = here.recorded(|| at_once(method::start(entry, &mut setup, &mut transformer)))?;
        let trained = training.trained().into_iter().map(|tensor| tensor.name);
        let calibrated = if by_gradient { trained.collect() } else { Vec::new() };
        let started = RefCell::new(Started { transformer, training });
        Ok(Self { config, here, rows, started, load, start, calibrated, demands: RefCell::default() })
    }

    /// What the settings themselves say, with blocks checkpointed or not.
    pub(super) fn as_set(&self, checkpointing: bool) -> Choice {
        let (batch_size, accumulation) = (self.config.batch_size, self.config.grad_accumulation_steps);
        Choice { batch_size, accumulation, checkpointing, cut: 0 }
    }

    /// What is known of the device.
    pub(super) fn device(&self) -> &DeviceFacts {
        &self.here.device.facts
    }

    /// A tensor of more than `binding` bytes that is trained as a whole, which cannot be done in blocks.
    pub(super) fn trained_whole(&self, binding: u64) -> Option<String> {
        let whole = |tensor: &TrainedTensor| {
            let numbers: usize = tensor.shape.iter().product();
            tensor.trained == numbers && 4 * numbers as u64 > binding
        };
        self.started.borrow().training.trained().into_iter().find(whole).map(|tensor| tensor.name)
    }

    /// What a choice takes.
    ///
    /// # Errors
    /// Nothing is trained.
    pub(super) fn demand(&self, choice: Choice) -> Result<Demand> {
        if let Some(known) = self.demands.borrow().get(&choice) {
            return Ok(*known);
        }
        let cut = (choice.cut > 0).then(|| self.rows.cut(choice.cut));
        let rows = cut.as_ref().unwrap_or(self.rows);
        let most = self.most_rows(rows);
        let demand = if choice.batch_size <= most {
            self.recorded(rows, choice)?
        } else {
            let less = (most / 2).max(1);
            let [less_taken, taken] =
                [less, most].map(|batch_size| self.recorded(rows, Choice { batch_size, ..choice }));
            let there = if rows.targets.is_empty() { usize::MAX } else { rows.targets.len() };
            taken?.beyond(less_taken?, [less, most, choice.batch_size.min(there.max(most))])
        };
        self.demands.borrow_mut().insert(choice, demand);
        Ok(demand)
    }

    fn classify(&self) -> bool {
        self.config.task == Task::Classify
    }

    /// Most rows of a batch that are recorded.
    fn most_rows(&self, rows: &Rows) -> usize {
        let started = self.started.borrow();
        let a = &started.transformer.architecture;
        let widest =
            started.transformer.parameters().iter().filter(|p| p.is_linear()).flat_map(|p| p.dims.clone()).max();
        let width = rows.to_train(1, false, a.max_positions).width();
        let width = rows.to_evaluate(1, false, a.max_positions).map_or(width, |batch| batch.width().max(width));
        let [numbers, tokens] = MOST;
        (numbers / widest.unwrap_or(a.hidden_size) / width).min(tokens / width).max(1)
    }

    /// The demand of a choice that is recorded: everything from the loading of the model to the second step. With the third
    /// nothing changes any more.
    fn recorded(&self, rows: &Rows, choice: Choice) -> Result<Demand> {
        let mut started = self.started.borrow_mut();
        let Started { transformer, training } = &mut *started;
        let device = &self.here.device;
        let positions = transformer.architecture.max_positions;
        let train = rows.to_train(choice.batch_size, self.classify(), positions);
        let calibrate = if self.calibrated.is_empty() { Vec::new() } else { self.calibrate(transformer, train)? };
        let evaluate = rows.to_evaluate(choice.batch_size, self.classify(), positions);
        let window = vec![train.batch(); choice.accumulation.min(2)];
        let ((), work) = self.here.recorded(|| {
            if let Some(batch) = evaluate {
                drop(forward(transformer, &Prepared::new(&batch.batch(), transformer, device)));
            }
            for pass in 0..2 {
                let settings = AdamW::zeroed();
                let observe = &mut || self.here.reached(GRADIENTS_ARE_THERE);
                let (batches, by_blocks) = (&window, choice.checkpointing);
                drop(observed(transformer, training, batches, pass, &settings, by_blocks, device, observe)?);
            }
            Ok(())
        })?;
        let story = Story { load: &self.load, calibrate: &calibrate, start: &self.start, work: &work };
        Ok(walk(&story, &self.known(transformer, training, &window[0], evaluate)))
    }

    /// A look of a gradient mask at a batch.
    fn calibrate(&self, transformer: &mut Transformer, batch: Fullest) -> Result<Vec<Event>> {
        let batch = Prepared::new(&batch.batch(), transformer, &self.here.device);
        let backward = |transformer: &Transformer| {
            let hidden = transformer.hidden(batch.ids.clone(), &batch.layout);
            batch.loss_sum(transformer, hidden).backward()
        };
        let look = || at_once(dense_gradients(transformer, &self.calibrated, backward));
        Ok(self.here.recorded(look)?.1)
    }

    fn known(&self, transformer: &Transformer, training: &Training, train: &Batch, evaluate: Option<Fullest>) -> Known {
        let facts = self.device();
        let alignment = facts.buffer_alignment.unwrap_or(DEFAULT_ALIGNMENT);
        let padded = |bytes: u64| bytes.next_multiple_of(u64::from(alignment));
        let blocks = transformer.parameters().into_iter().flat_map(|p| p.value().blocks());
        let trained = training.trained();
        let vocabulary = transformer.architecture.vocab_size;
        let mut logits = Vec::new();
        for batch in [Some(train.clone()), evaluate.map(|batch| batch.batch())].into_iter().flatten() {
            let pieces = Prepared::new(&batch, transformer, &self.here.device).pieces();
            logits.extend(pieces.into_iter().map(|piece| padded(4 * (piece.len() * vocabulary) as u64)));
        }
        Known {
            weights: blocks.map(|block| padded(bytes_of(block.dims(), block.packing()))).sum(),
            // Two numbers for each trainable parameter.
            moments: trained.iter().map(|tensor| padded(8 * tensor.trained as u64)).sum(),
            logits: logits.into_iter().collect(),
            largest_page: facts.max_binding_bytes,
            alignment,
        }
    }
}

/// What devices have that do not say ([`wgpu::Limits::default`]).
const DEFAULT_ALIGNMENT: u32 = 256;

/// Bytes of a matrix that is not split.
fn bytes_of([rows, cols]: [usize; 2], packing: Option<Packing>) -> u64 {
    4 * packing.map_or(rows * cols, |packing| packing.words(rows * cols)) as u64
}
