//! The worker that trains.

use std::sync::{Arc, atomic::Ordering};

use super::{
    LOOK_AGAIN, Shared, Voice,
    devices::OpenDevices,
    worker::{Ear, Heard, attempt, breathe},
};
use crate::{
    Error, Result,
    config::RunConfig,
    demo,
    event::{
        Command,
        messages::{Reply, RunState, Setup},
    },
    method, panics, storage,
    train::{
        Inputs, Run,
        folder::{prepare_out, stored_config, unresumable},
        lock,
        place::pin,
        run::Turn,
    },
};

/// What this worker is asked for.
pub(super) enum Wish {
    Start(Box<Setup>),
    Tell(Command),
}

pub(super) async fn work(wishes: Ear<Wish>, voice: Voice, devices: OpenDevices, shared: Arc<Shared>) {
    #[cfg(not(target_arch = "wasm32"))]
    crate::device::compute_on_this_thread();
    while let Some(wish) = wishes.next().await {
        // Without a run there is nothing to tell.
        let Wish::Start(setup) = wish else { continue };
        if !shared.closing.load(Ordering::SeqCst) {
            let state = match one(&setup, &wishes, &voice, &devices, &shared).await {
                Ok(()) => RunState::Ended,
                Err(error) => RunState::Failed { message: error.to_string() },
            };
            voice.say(Reply::State { state });
        }
        shared.runs.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One run from its settings to its end; a panic on the way is an error.
async fn one(setup: &Setup, wishes: &Ear<Wish>, voice: &Voice, devices: &OpenDevices, shared: &Shared) -> Result<()> {
    // Outside of what may panic: a run with tensors of a device that is gone must not be dropped while unwinding.
    let mut run = None;
    shared.preparing.store(true, Ordering::SeqCst);
    let attempt = attempt(conduct(setup, &mut run, wishes, voice, devices, shared)).await;
    shared.preparing.store(false, Ordering::SeqCst);
    if let Err(panic) = &attempt {
        devices.forget();
        if let Some(run) = &mut run {
            run.fail(&panic.to_string());
        }
    }
    panics::let_go(run);
    attempt?
}

async fn conduct(
    setup: &Setup,
    place: &mut Option<Run>,
    wishes: &Ear<Wish>,
    voice: &Voice,
    devices: &OpenDevices,
    shared: &Shared,
) -> Result<()> {
    let mut prepare = |what: &str| voice.say(Reply::State { state: RunState::Preparing { what: what.to_owned() } });
    let mut config = settled(setup)?;
    if !demo::is_embedded(&config.model) && !storage::exists(&config.model) {
        prepare(&format!("fetching {} from the Hugging Face hub", config.model.display()));
    }
    pin(&mut config, true)?;
    prepare("opening the device");
    let device = devices.open(&config.device).await?;
    let inputs = Inputs::load_telling(&config, device, false, &mut prepare)?;
    shared.preparing.store(false, Ordering::SeqCst);
    if shared.closing.load(Ordering::SeqCst) {
        return Ok(());
    }
    if !setup.resume && !config.out.as_os_str().is_empty() {
        prepare_out(&config.out, setup.overwrite)?;
    }
    prepare("choosing what is trained");
    let run = place.insert(Run::new(config, inputs, setup.resume).await?);

    let mut state = RunState::Preparing { what: String::new() };
    loop {
        // Everything that was asked for meanwhile; a run that stands still waits for it.
        let waiting = run.paused() && !shared.closing.load(Ordering::SeqCst);
        let now = if waiting { RunState::Paused } else { RunState::Running };
        if now != state {
            state = now;
            voice.say(Reply::State { state: state.clone() });
        }
        let heard = if waiting { wishes.within(LOOK_AGAIN).await } else { wishes.now() };
        match heard {
            Heard::Wish(Wish::Tell(command)) => {
                run.tell(command);
                continue;
            }
            Heard::Wish(Wish::Start(_)) => {
                shared.runs.fetch_sub(1, Ordering::SeqCst);
                voice.say(Reply::State { state: state.clone() });
                continue;
            }
            // Nobody is there any more.
            Heard::Gone => run.tell(Command::Stop),
            Heard::Silence if waiting => {
                run.listen();
                continue;
            }
            Heard::Silence => {}
        }
        if shared.closing.load(Ordering::SeqCst) {
            run.tell(Command::Stop);
        }
        match run.turn().await? {
            Turn::Event(event) => voice.say(Reply::Event { event: Box::new(event) }),
            Turn::Worked => breathe().await,
            Turn::Over => return Ok(()),
        }
    }
}

/// The settings of a run, known to be in bounds.
fn settled(setup: &Setup) -> Result<RunConfig> {
    let config = with_demo(setup);
    if setup.resume {
        lock::refuse_held(&config.out)?;
        let stored = stored_config(&config.out)?;
        if let Some((_, message)) = unresumable(&stored, &config).into_iter().next() {
            return Err(Error::Input(message));
        }
    }
    if let Some((_, message)) = missing(&config, setup.demo).into_iter().next() {
        return Err(Error::Input(message));
    }
    config.check()?;
    method::find(&config.method)?;
    Ok(config)
}

/// The settings of `setup`, with the model and the data inside this program where it wants these.
pub(super) fn with_demo(setup: &Setup) -> RunConfig {
    if !setup.demo {
        return setup.config.clone();
    }
    RunConfig {
        model: demo::NAME.into(),
        revision: String::new(),
        data: demo::NAME.into(),
        valid_data: std::path::PathBuf::new(),
        ..setup.config.clone()
    }
}

/// The settings that a run needs and that are not there, each with a sentence. The demo may leave nothing behind.
pub(super) fn missing(config: &RunConfig, demo: bool) -> Vec<(&'static str, String)> {
    let needed = [
        ("model", &config.model, "name a model folder, org/name on the Hugging Face hub, or agoge-demo"),
        ("data", &config.data, "name a file, or a folder with train.*"),
        ("out", &config.out, "name a folder for what the run makes"),
    ];
    let empty = needed.into_iter().filter(|(name, path, _)| path.as_os_str().is_empty() && !(demo && *name == "out"));
    empty.map(|(name, _, todo)| (name, format!("--{name} is missing: {todo}"))).collect()
}
