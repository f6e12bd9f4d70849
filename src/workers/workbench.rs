//! The worker that works with the adapters of runs: it writes text with and without them, merges and exports them.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use web_time::Instant;

use super::{
    shared::Shared,
    worker::{Replies, Requests, attempt},
};
use crate::{
    Error, Result,
    config::RunConfig,
    data::Tokenizer,
    event::messages::{Reply, TaskEnding},
    format::{bytes, count},
    generate::{Sampling, TextSettings, TextStream},
    method::{adapter::Adapter, formats, switch::SwitchableAdapters},
    model::{Pretrained, save},
    panics,
    session::{OpenDevices, breathe},
    storage,
    train::{
        inputs::load_base,
        results::{self, settings_for_use},
    },
};

/// What this worker is asked for.
pub(super) enum TaskRequest {
    /// Something to do with the run in a folder.
    Task { number: u64, folder: PathBuf, task: Task },
    /// Somebody else needs the memory.
    Release,
}

/// What can be done with the adapter of a run.
pub(super) enum Task {
    Generate { order: u64, prompt: String, temperature: f32, max_tokens: usize, seed: u64 },
    Merge { out: PathBuf },
    Export { format: String, out: PathBuf },
}

pub(super) async fn work(requests: Requests<TaskRequest>, replies: Replies, devices: OpenDevices, shared: Arc<Shared>) {
    let mut bench = Bench { loaded: None, replies: replies.clone(), devices: devices.clone(), shared: shared.clone() };
    while let Some(request) = requests.next().await {
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        let TaskRequest::Task { number, folder, task } = request else {
            bench.unload();
            continue;
        };
        let attempt = attempt(bench.perform(number, &folder, task)).await;
        if attempt.is_err() {
            devices.forget();
            bench.unload();
        }
        let (text, ending) = match attempt.and_then(|done| done) {
            Ok(text) => (text, TaskEnding::Done),
            Err(error) => (error.to_string(), TaskEnding::Failed),
        };
        replies.send(Reply::Task { number, text, ending: Some(ending) });
    }
}

struct Bench {
    loaded: Option<Loaded>,
    replies: Replies,
    devices: OpenDevices,
    shared: Arc<Shared>,
}

/// A run's model with its adapter, kept for the next task.
struct Loaded {
    folder: PathBuf,
    config: RunConfig,
    base: Pretrained,
    tokenizer: Tokenizer,
    sides: SwitchableAdapters,
    /// When the adapter was written.
    written: Option<(u64, SystemTime)>,
}

impl Bench {
    /// Lets go of the model. Its device may have failed: what its tensors do then is of no interest.
    fn unload(&mut self) {
        panics::let_go(self.loaded.take());
    }

    /// Performs a task; what came of it, as a sentence.
    async fn perform(&mut self, number: u64, folder: &Path, task: Task) -> Result<String> {
        match task {
            Task::Generate { order, prompt, temperature, max_tokens, seed } => {
                let shared = self.shared.clone();
                let interrupted = || shared.interrupted.load(Ordering::SeqCst) >= order;
                if interrupted() {
                    for adapted in [true, false] {
                        self.replies.send(Reply::Text { number, adapted, text: String::new(), done: true });
                    }
                    return Ok("stopped".into());
                }
                if !temperature.is_finite() || temperature < 0.0 {
                    return Err(Error::input(format!("--temperature {temperature}: it must not be negative")));
                }
                let sampling = Sampling { temperature, ..Sampling::default() };
                let settings = TextSettings { sampling, max_tokens, seed };
                self.generate(number, folder, &prompt, &settings, &interrupted).await
            }
            Task::Merge { out } => self.merge(number, folder, &out).await,
            Task::Export { format, out } => self.export(number, folder, &format, &out).await,
        }
    }

    /// The model of the run in `folder` with its adapter as it is now, loaded where it is not yet.
    async fn load(&mut self, number: u64, folder: &Path) -> Result<&mut Loaded> {
        let marker = formats::in_folder(folder).map_or("", |format| format.marker);
        let written = || storage::stamp(folder.join(marker)).ok();
        let config = settings_for_use(folder)?;
        let known = self.loaded.as_ref().is_some_and(|loaded| loaded.folder == folder && loaded.config == config);
        if !known {
            self.unload();
            // Read before the model is loaded: a missing adapter should not cost that.
            let written = written();
            let adapter = Adapter::read(folder)?;
            self.replies.doing(number, format!("loading {}", config.model.display()));
            let device = self.devices.open(&config.device).await?;
            let mut base = load_base(&config, adapter.purpose(), &device)?;
            let tokenizer = Tokenizer::from_folder(&base.folder)?;
            let sides = SwitchableAdapters::apply(vec![(adapter, 1.0)], &mut base, device)?;
            self.loaded = Some(Loaded { folder: folder.to_path_buf(), config, base, tokenizer, sides, written });
        }
        let loaded = self.loaded.as_mut().expect("it was loaded if it was not there");
        // A run that continues writes better ones.
        let now = written();
        if loaded.written != now {
            loaded.sides.switch(folder, &mut loaded.base)?;
            loaded.written = now;
        }
        Ok(loaded)
    }

    /// Continues a prompt with the adapter and without it.
    async fn generate(
        &mut self,
        number: u64,
        folder: &Path,
        prompt: &str,
        settings: &TextSettings,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<String> {
        let replies = self.replies.clone();
        let Loaded { base, tokenizer, sides, .. } = self.load(number, folder).await?;
        if !base.classes().is_empty() {
            return Err(Error::input("this is a classifier, which writes no text; use agoge classify"));
        }
        let prompt = tokenizer.encode_prompt(prompt)?;
        let (started, mut tokens) = (Instant::now(), 0);
        for adapted in [true, false] {
            sides.turn(adapted, base)?;
            let mut stream = TextStream::new(&base.transformer, tokenizer, &prompt, settings.clone())?;
            while let Some(text) = stream.next(interrupted).await? {
                let done = stream.end().is_some();
                if done || !text.is_empty() {
                    replies.send(Reply::Text { number, adapted, text, done });
                }
                breathe().await;
            }
            tokens += stream.tokens();
        }
        if interrupted() {
            return Ok("stopped".into());
        }
        let speed = tokens as f64 / started.elapsed().as_secs_f64().max(1e-9);
        Ok(format!("{} tokens, {speed:.0} tokens/s", count(tokens)))
    }

    async fn merge(&mut self, number: u64, folder: &Path, out: &Path) -> Result<String> {
        let config = settings_for_use(folder)?;
        results::check_merged_out(out, &config.model, false)?;
        let replies = self.replies.clone();
        let loaded = self.load(number, folder).await?;
        replies.doing(number, format!("writing {}", out.display()));
        loaded.sides.turn(true, &mut loaded.base)?;
        let base = &loaded.base;
        let size = save::folder(base, base.dtype, out, save::MOST_FILE_BYTES).await?;
        Ok(format!(
            "merged model in {}: {} parameters as {:?}, {}",
            out.display(),
            count(base.transformer.parameter_count()),
            base.dtype,
            bytes(size)
        ))
    }

    async fn export(&mut self, number: u64, folder: &Path, format: &str, out: &Path) -> Result<String> {
        let format = formats::find(format)?;
        results::check_export_out(out, format, false)?;
        let loaded = self.load(number, folder).await?;
        loaded.sides.turn(false, &mut loaded.base)?;
        let Some((adapter, _)) = loaded.sides.adapters().first() else {
            return Err(Error::input(format!("{}: there is no adapter in this folder", folder.display())));
        };
        let base_name = results::known_base(adapter, &loaded.config.model);
        let written = results::export(adapter, &loaded.base, format, base_name, out)?;
        Ok(format!(
            "adapter in {}: {}, {} trained parameters, {}",
            out.display(),
            format.about,
            count(adapter.info.trained_parameters),
            bytes(written)
        ))
    }
}
