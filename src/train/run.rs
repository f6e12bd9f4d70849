//! A run as a stream of events. Poll [`Run::next`] until it gives `None`; not polling pauses the run, dropping it stops
//! it. All tensors live on the thread that polls.

mod evaluating;
mod in_flight;
mod queued;
mod recording;
mod reporting;
mod stopwatch;

use std::collections::VecDeque;

use in_flight::StepsInFlight;
use queued::{Queued, note_done};
use stopwatch::{Pace, Stopwatch};

use super::{
    checkpoint::{self, Progress},
    command_file,
    evaluate::ROUND_TO,
    event_log::EventLog,
    folder::{clear_out, latest_checkpoint, refuse_other_data},
    inputs::Inputs,
    lock::Lock,
    schedule::LearningRate,
    start::start_method,
    step::optimizer_step_observed,
};
use crate::{
    Error, Result,
    config::{AdapterDtype, GradCheckpointing, RunConfig},
    data::{Batch, BatchPlan, Digests},
    device::Memory,
    event::{Command, Ending, Event, Started},
    files,
    generate::check_prompt,
    kernel::AdamW,
    method::{self, Training},
    storage,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Training,
    Closing(Ending),
    Done,
}

/// What one turn of a run came to.
#[derive(Debug)]
pub enum Turn {
    /// It emitted an event.
    Event(Event),
    /// It did a step, and will report it later.
    Worked,
    /// The run is over.
    Over,
}

/// One fine-tuning run.
pub struct Run {
    config: RunConfig,
    inputs: Inputs,
    training: Training,
    plan: BatchPlan,
    schedule: LearningRate,
    /// All batches of the run, where the run is counted in epochs.
    total_batches: Option<u64>,
    progress: Progress,
    phase: Phase,
    events: VecDeque<Event>,
    queued: Vec<Queued>,
    in_flight: StepsInFlight,
    stopwatch: Stopwatch,
    /// Seconds trained at the last report, and the speed before it.
    reported_at: f64,
    pace: Pace,
    event_log: Option<EventLog>,
    /// Keeps others out of the folder until the run is over.
    lock: Option<Lock>,
    /// What ended the run, until it is returned.
    failure: Option<Error>,
    /// Steps of the last checkpoint written.
    saved: Option<u64>,
    /// The most at the last report: inside its step, and after it.
    memory: Memory,
    memory_choice: Option<String>,
    stop: bool,
    save: bool,
    paused: bool,
}

impl Run {
    /// Starts a run, or with `resume` resumes the one in `config.out`. `config.out` may be empty: then nothing is
    /// written. A new run removes an earlier one from `config.out`, once everything is known to fit together.
    ///
    /// # Errors
    /// Settings, model and data that do not fit together; a folder that cannot be written or resumed; a device that failed.
    pub async fn new(mut config: RunConfig, mut inputs: Inputs, resume: bool) -> Result<Self> {
        config.check()?;
        let entry = method::find(&config.method)?;
        if config.learning_rate == 0.0 {
            config.learning_rate = entry.learning_rate;
        }
        inputs.dataset.check_vocabulary(inputs.base.transformer.architecture.vocab_size)?;
        inputs.dataset.check_token_types(inputs.base.transformer.architecture.token_types)?;
        if config.chat_date.is_empty() {
            // Pinned, so that a run that is resumed on another day has the same rows.
            config.chat_date = inputs.tokenizer.chat_date().unwrap_or_default();
        }
        if !config.sample_prompts.0.is_empty() && !inputs.base.classes().is_empty() {
            return Err(Error::input("--sample-prompts: a classifier writes no text"));
        }
        for prompt in &config.sample_prompts.0 {
            let ids = inputs.tokenizer.encode(prompt, true)?;
            check_prompt(&inputs.base.transformer.architecture, &ids)
                .map_err(|e| Error::input(format!("--sample-prompts \"{prompt}\": {e}")))?;
        }
        let memory_choice = inputs.settle(&mut config, resume)?;
        let data = Digests::of(&inputs.dataset, &inputs.tokenizer);
        let mut lock = None;
        let mut checkpoint = None;
        if resume {
            // Nobody else writes there from now on.
            lock = Some(Lock::take(&config.out)?);
            let (found, state) = latest_checkpoint(&config.out)?;
            if found.base_fingerprint != inputs.base.fingerprint {
                return Err(Error::input(format!(
                    "--resume {}: the weights in {} are not those that this run started from; put the original model back",
                    config.out.display(),
                    config.model.display()
                )));
            }
            refuse_other_data(&config.out, found.data.as_ref(), &data)?;
            checkpoint = Some((found, state));
        }
        let state = checkpoint.as_ref().map(|(_, state)| state);
        let training = start_method(entry, &config, &mut inputs, state).await?;
        let plan = BatchPlan::new(&inputs.dataset.train.lengths(), config.batch_size, config.seed)?;
        let total_batches = (config.steps == 0).then(|| config.epochs.saturating_mul(plan.batches_per_epoch()));
        let steps = total_batches.map_or(config.steps, |all| all.div_ceil(config.grad_accumulation_steps as u64));

        let mut progress = Progress { base_fingerprint: inputs.base.fingerprint.clone(), ..Progress::default() };
        let (mut event_log, mut saved) = (None, None);
        if !config.out.as_os_str().is_empty() {
            storage::create_dir_all(&config.out).map_err(|e| Error::file("create", &config.out, e))?;
            if lock.is_none() {
                lock = Some(Lock::take(&config.out)?);
            }
            // Commands for a run before this one.
            command_file::receive(&config.out);
            if let Some((found, _)) = checkpoint {
                progress = found;
                saved = Some(progress.step);
            } else {
                clear_out(&config.out)?;
            }
            progress.data = Some(data);
            event_log = Some(EventLog::open(&config.out, progress.step)?);
            files::write_json(&config.out.join("config.json"), &config)?;
        }
        let mut schedule = LearningRate::new(&config, steps);
        schedule.peak = progress.learning_rate.unwrap_or(schedule.peak);
        let elapsed_secs = progress.elapsed_secs;
        Ok(Self {
            config,
            inputs,
            training,
            plan,
            schedule,
            total_batches,
            progress,
            phase: Phase::Opening,
            events: VecDeque::new(),
            queued: Vec::new(),
            in_flight: StepsInFlight::default(),
            stopwatch: Stopwatch::at(elapsed_secs),
            reported_at: elapsed_secs,
            pace: Pace::default(),
            event_log,
            lock,
            failure: None,
            saved,
            memory: Memory::default(),
            memory_choice,
            stop: false,
            save: false,
            paused: false,
        })
    }

    /// Gives the run a command; it acts on it before its next step.
    pub fn tell(&mut self, command: Command) {
        match command {
            Command::Stop => self.stop = true,
            Command::Save => self.save = true,
            Command::SetLearningRate(rate) if rate.is_finite() && rate >= 0.0 => {
                self.schedule.peak = rate;
                self.progress.learning_rate = Some(rate);
            }
            Command::SetLearningRate(_) => {}
            Command::Pause => self.paused = true,
            Command::Resume => self.paused = false,
        }
    }

    /// Reads the commands that other processes have left in the run's folder. A run does so itself at each report; who
    /// keeps a paused run waiting does it in its place.
    pub fn listen(&mut self) {
        if self.lock.is_some() {
            command_file::receive(&self.config.out).into_iter().for_each(|command| self.tell(command));
        }
    }

    /// Whether the run is paused; it is for its front end not to poll it then.
    pub fn paused(&self) -> bool {
        self.paused && !self.stop && self.phase == Phase::Training
    }

    /// The next event; `None` when the run is over.
    ///
    /// # Errors
    /// A loss that is not finite, a device that failed, a disk that is full. The run is over then.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            match self.turn().await? {
                Turn::Event(event) => return Ok(Some(event)),
                Turn::Worked => {}
                Turn::Over => return Ok(None),
            }
        }
    }

    /// As [`Self::next`], but gives control back after every step, also where there is no event yet.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn turn(&mut self) -> Result<Turn> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Turn::Event(event));
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let done = match self.phase {
            Phase::Opening => self.open().await,
            Phase::Training => self.train().await,
            Phase::Closing(ending) => self.close(ending).await,
            Phase::Done => return Ok(Turn::Over),
        };
        if let Err(error) = done {
            // The events before it come first.
            self.fail(&error.to_string());
            self.failure = Some(error);
        }
        Ok(Turn::Worked)
    }

    async fn open(&mut self) -> Result<()> {
        let facts = &self.inputs.device.facts;
        let started = Event::Started(Box::new(Started {
            device: format!("{} ({}, {}): {}", facts.name, facts.backend, facts.kind, self.inputs.device.reason),
            model: self.inputs.base.name(),
            method: self.config.method.clone(),
            total_parameters: self.inputs.base.transformer.parameter_count(),
            trained_parameters: self.training.trained_parameters(),
            trained: self.training.trained(),
            steps: self.schedule.steps,
            done: self.progress.step,
            batches_per_epoch: self.plan.batches_per_epoch(),
            learning_rate: self.schedule.peak,
            memory_limit_bytes: facts.memory_bytes,
            memory_choice: self.memory_choice.take(),
        }));
        self.emit(started)?;
        self.emit(Event::Data { report: Box::new(self.inputs.dataset.report.clone()) })?;
        self.phase = Phase::Training;
        if self.progress.step == 0 {
            self.evaluate().await?;
        }
        Ok(())
    }

    async fn train(&mut self) -> Result<()> {
        let step = self.progress.step;
        if step >= self.schedule.steps || self.stop {
            let ending = if step >= self.schedule.steps { Ending::Completed } else { Ending::Stopped };
            self.phase = Phase::Closing(ending);
            return Ok(());
        }
        self.stopwatch.start();
        let learning_rate = self.schedule.at(step);
        let window = self.window(step);
        let settings = self.adamw(step, learning_rate);
        let done = step + 1;
        let every = |interval: u64| interval > 0 && done.is_multiple_of(interval);
        // Reading the figures is the only place where the device waits for the host.
        let report = every(self.config.logging_steps)
            || every(self.config.eval_steps)
            || every(self.config.save_steps)
            || done == 1
            || done == self.schedule.steps
            || self.stop
            || self.save;
        let device = &self.inputs.device;
        let mut inside = Memory::default();
        // Asking for it makes the host wait.
        let mut observe = || {
            if report {
                inside = device.memory();
            }
        };
        let outcome = optimizer_step_observed(
            &mut self.inputs.base.transformer,
            &mut self.training,
            &window,
            step * self.config.grad_accumulation_steps as u64,
            &settings,
            self.config.grad_checkpointing == GradCheckpointing::On,
            device,
            &mut observe,
        )?;
        let tokens = window.iter().map(|batch| batch.tokens as u64).sum();
        self.progress.step += 1;
        self.training.after_step(self.progress.step, &mut self.inputs.base.transformer).await?;
        self.queued.push(Queued {
            step: self.progress.step,
            learning_rate,
            tokens,
            loss: outcome.loss,
            squared_norm: outcome.squared_norm,
            done_at: None,
        });
        if report {
            self.report(inside).await?;
        } else {
            let (queued, stopwatch) = (&mut self.queued, &self.stopwatch);
            self.in_flight.mark(&self.inputs.device, || note_done(queued, stopwatch)).await?;
        }
        self.stopwatch.stop();
        self.progress.elapsed_secs = self.stopwatch.seconds();
        // The last step is evaluated here too, so that its checkpoint knows of it.
        let last = done == self.schedule.steps;
        if every(self.config.eval_steps) || last {
            let stop_early = self.evaluate().await?;
            if stop_early && !last {
                self.phase = Phase::Closing(Ending::EarlyStop);
            }
        }
        if every(self.config.save_steps) || self.save {
            self.checkpoint().await?;
        }
        Ok(())
    }

    /// The batches of one optimizer step.
    fn window(&mut self, step: u64) -> Vec<Batch> {
        let per_step = self.config.grad_accumulation_steps as u64;
        let first = step * per_step;
        let last = self.total_batches.map_or(first + per_step, |all| all.min(first + per_step));
        let width = self.inputs.base.transformer.architecture.max_positions;
        let pad = self.inputs.base.pad_id();
        (first..last)
            .map(|k| Batch::assemble(&self.inputs.dataset.train, &self.plan.rows(k), pad, ROUND_TO, width))
            .collect()
    }

    fn adamw(&self, step: u64, learning_rate: f64) -> AdamW {
        let (c, t) = (&self.config, step as f64 + 1.0);
        AdamW {
            learning_rate: learning_rate as f32,
            beta1: c.beta1 as f32,
            beta2: c.beta2 as f32,
            epsilon: c.epsilon as f32,
            weight_decay: c.weight_decay as f32,
            correction1: (1.0 - c.beta1.powf(t)) as f32,
            correction2: (1.0 - c.beta2.powf(t)) as f32,
            max_norm: c.max_grad_norm as f32,
        }
    }

    async fn write_adapter(&self) -> Result<()> {
        if self.config.out.as_os_str().is_empty() {
            return Ok(());
        }
        let dtype = match self.config.adapter_dtype {
            AdapterDtype::F32 => safetensors::Dtype::F32,
            AdapterDtype::F16 => safetensors::Dtype::F16,
        };
        method::save::write(&self.training, &self.config.method, &self.inputs.base, dtype, &self.config.out).await
    }

    async fn checkpoint(&mut self) -> Result<()> {
        self.save = false;
        if self.config.out.as_os_str().is_empty() {
            return Ok(());
        }
        let folder = self.config.out.join("checkpoints");
        let keep = self.config.keep_checkpoints;
        let transformer = &self.inputs.base.transformer;
        let Some(place) = checkpoint::write(&folder, &self.progress, &self.training, transformer, keep).await? else {
            return Err(self.not_finite(self.progress.step, "result of the step", f64::NAN));
        };
        self.saved = Some(self.progress.step);
        self.emit(Event::Saved { step: self.progress.step, path: place.display().to_string() })
    }

    async fn close(&mut self, ending: Ending) -> Result<()> {
        if !self.queued.is_empty() {
            self.stopwatch.start();
            self.report(Memory::default()).await?;
            self.stopwatch.stop();
        }
        // A stopped run is not evaluated: who pressed Ctrl-C wants to leave.
        if ending != Ending::Stopped && self.progress.evaluated != Some(self.progress.step) {
            self.evaluate().await?;
            self.saved = None;
        }
        if self.saved != Some(self.progress.step) && self.progress.step > 0 {
            self.checkpoint().await?;
        }
        // With a validation set the folder holds the best adapter, without one the last.
        if self.progress.best_eval.is_none() {
            self.write_adapter().await?;
        }
        self.emit(Event::Finished {
            ending,
            step: self.progress.step,
            best_eval: self.progress.best_eval,
            elapsed_secs: self.progress.elapsed_secs,
            tokens: self.progress.tokens,
        })?;
        self.phase = Phase::Done;
        self.lock = None;
        Ok(())
    }

    /// Time trained, over all sessions of the run, without evaluations.
    pub fn elapsed_secs(&self) -> f64 {
        self.progress.elapsed_secs
    }

    /// The resolved settings.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The model as it is now, and what else the run works on.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The method with its trainable tensors.
    pub fn training(&self) -> &Training {
        &self.training
    }
}
