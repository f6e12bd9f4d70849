//! The worker that works with the adapters of runs: it writes text with and without them, merges and exports them.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use web_time::Instant;

use super::{
    Shared, Voice,
    devices::OpenDevices,
    worker::{Ear, attempt, breathe},
};
use crate::{
    Error, Result,
    config::RunConfig,
    data::{StreamDecoder, Tokenizer},
    event::messages::{Reply, TaskEnding},
    format::{bytes, count},
    method::{adapter::Adapter, formats, switch::SwitchableAdapters},
    model::{Pretrained, generate::Generation, sample::Sampling, save},
    panics, storage,
    train::{
        inputs::load_base,
        results::{self, settings_for_use},
    },
};

/// What this worker is asked for.
pub(super) enum Wish {
    Generate {
        order: u64,
        number: u64,
        folder: PathBuf,
        wanted: Wanted,
    },
    Merge {
        number: u64,
        folder: PathBuf,
        out: PathBuf,
    },
    Export {
        number: u64,
        folder: PathBuf,
        format: String,
        out: PathBuf,
    },
    /// Somebody else needs the memory.
    Release,
}

/// Text that is wanted.
pub(super) struct Wanted {
    pub prompt: String,
    pub temperature: f32,
    pub max_tokens: usize,
    pub seed: u64,
}

pub(super) async fn work(wishes: Ear<Wish>, voice: Voice, devices: OpenDevices, shared: Arc<Shared>) {
    let mut bench = Bench { loaded: None, voice: voice.clone(), devices: devices.clone() };
    while let Some(wish) = wishes.next().await {
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        let number = match &wish {
            Wish::Generate { number, .. } | Wish::Merge { number, .. } | Wish::Export { number, .. } => *number,
            Wish::Release => {
                bench.put_away();
                continue;
            }
        };
        let attempt = attempt(bench.carry_out(wish, &shared)).await;
        if attempt.is_err() {
            devices.forget();
            bench.put_away();
        }
        let (text, ending) = match attempt.and_then(|done| done) {
            Ok(text) => (text, TaskEnding::Done),
            Err(error) => (error.to_string(), TaskEnding::Failed),
        };
        voice.say(Reply::Task { number, text, ending: Some(ending) });
    }
}

struct Bench {
    loaded: Option<Loaded>,
    voice: Voice,
    devices: OpenDevices,
}

/// A run's model with its adapter, kept for the next wish.
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
    fn put_away(&mut self) {
        panics::let_go(self.loaded.take());
    }

    /// Does what is wished for and says what came of it.
    async fn carry_out(&mut self, wish: Wish, shared: &Shared) -> Result<String> {
        match wish {
            Wish::Generate { order, number, folder, wanted } => {
                let silent = || shared.silenced.load(Ordering::SeqCst) >= order;
                if silent() {
                    return Ok(self.silence(number, &[true, false]));
                }
                self.generate(number, &folder, &wanted, &silent).await
            }
            Wish::Merge { number, folder, out } => self.merge(number, &folder, &out).await,
            Wish::Export { number, folder, format, out } => self.export(number, &folder, &format, &out).await,
            Wish::Release => Ok(String::new()),
        }
    }

    /// Says that these sides are complete, although they are not.
    fn silence(&self, number: u64, sides: &[bool]) -> String {
        for &adapted in sides {
            self.voice.say(Reply::Text { number, adapted, text: String::new(), done: true });
        }
        "stopped".into()
    }

    /// The model of the run in `folder` with its adapter as it is now, loaded where it is not yet.
    async fn load(&mut self, number: u64, folder: &Path) -> Result<&mut Loaded> {
        let marker = formats::in_folder(folder).map_or("", |format| format.marker);
        let written = || storage::stamp(folder.join(marker)).ok();
        let config = settings_for_use(folder)?;
        let known = self.loaded.as_ref().is_some_and(|loaded| loaded.folder == folder && loaded.config == config);
        if !known {
            self.put_away();
            // Read before the model is loaded: a missing adapter should not cost that.
            let written = written();
            let adapter = Adapter::read(folder)?;
            self.voice.doing(number, format!("loading {}", config.model.display()));
            let device = self.devices.open(&config.device).await?;
            let mut base = load_base(&config, adapter.purpose(), &device)?;
            let tokenizer = Tokenizer::from_folder(&base.folder)?;
            let sides = SwitchableAdapters::apply(vec![(adapter, 1.0)], &mut base, device)?;
            self.loaded = Some(Loaded { folder: folder.to_path_buf(), config, base, tokenizer, sides, written });
        }
        let loaded = self.loaded.as_mut().expect("it was loaded if it was not there");
        // A run that goes on writes better ones.
        let now = written();
        if loaded.written != now {
            loaded.sides.switch(folder, &mut loaded.base)?;
            loaded.written = now;
        }
        Ok(loaded)
    }

    async fn generate(
        &mut self,
        number: u64,
        folder: &Path,
        wanted: &Wanted,
        silent: &dyn Fn() -> bool,
    ) -> Result<String> {
        if !wanted.temperature.is_finite() || wanted.temperature < 0.0 {
            return Err(Error::input(format!("--temperature {}: it must not be negative", wanted.temperature)));
        }
        let voice = self.voice.clone();
        let loaded = self.load(number, folder).await?;
        if !loaded.base.classes().is_empty() {
            return Err(Error::input("this is a classifier, which writes no text; use agoge classify"));
        }
        let prompt = loaded.tokenizer.encode_prompt(&wanted.prompt)?;
        let (started, mut made) = (Instant::now(), 0);
        for adapted in [true, false] {
            loaded.sides.turn(adapted, &mut loaded.base)?;
            let sampling = Sampling { temperature: wanted.temperature, ..Sampling::default() };
            let eos = loaded.tokenizer.eos_ids();
            let mut generation = Generation::new(&loaded.base.transformer, &prompt, sampling, eos, wanted.seed)?;
            let mut decoder = StreamDecoder::new(&loaded.tokenizer, &prompt, true);
            let mut own = 0;
            while own < wanted.max_tokens && !silent() {
                let Some(id) = generation.next().await? else { break };
                own += 1;
                breathe().await;
                if let Some(text) = decoder.push(id)? {
                    voice.say(Reply::Text { number, adapted, text, done: false });
                }
            }
            made += own;
            let text = decoder.finish()?.unwrap_or_default();
            voice.say(Reply::Text { number, adapted, text, done: true });
        }
        if silent() {
            return Ok("stopped".into());
        }
        let speed = made as f64 / started.elapsed().as_secs_f64().max(1e-9);
        Ok(format!("{} tokens, {speed:.0} tokens/s", count(made)))
    }

    async fn merge(&mut self, number: u64, folder: &Path, out: &Path) -> Result<String> {
        let config = settings_for_use(folder)?;
        results::check_merged_out(out, &config.model, false)?;
        let voice = self.voice.clone();
        let loaded = self.load(number, folder).await?;
        voice.doing(number, format!("writing {}", out.display()));
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
            "adapter in {}: {}, {} trained numbers, {}",
            out.display(),
            format.about,
            count(adapter.info.trained_parameters),
            bytes(written)
        ))
    }
}
