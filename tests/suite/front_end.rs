//! A front end of the workers, for tests: it sends requests and keeps what it receives.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use agoge::{
    config::{RunConfig, Schedule},
    demo,
    device::DeviceChoice,
    event::{
        Ending, Event,
        messages::{Reply, Request, RunState, Setup, TaskEnding},
    },
    workers::Workers,
};

use crate::fixture::assert_same;

/// Longest that anything here is waited for.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A front end that keeps what it receives.
pub struct Front {
    pub workers: Workers,
    pub woken: Arc<AtomicUsize>,
    pub replies: Vec<Reply>,
}

impl Front {
    pub fn open() -> Self {
        let woken = Arc::new(AtomicUsize::new(0));
        let counter = woken.clone();
        let workers = Workers::start(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        Self { workers, woken, replies: Vec::new() }
    }

    /// Waits for the first reply from now on that `wanted` takes, and gives what it makes of it.
    pub fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&Reply) -> Option<T>) -> T {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let Some(reply) = self.workers.receive_within(Duration::from_millis(100)) else { continue };
            let found = wanted(&reply);
            self.replies.push(reply);
            if let Some(found) = found {
                return found;
            }
        }
        panic!("no {what}; received {:?}", self.replies.iter().rev().take(5).collect::<Vec<_>>());
    }

    pub fn state(&mut self, what: &str, wanted: impl Fn(&RunState) -> bool) -> RunState {
        self.until(what, |reply| match reply {
            Reply::State { state } if wanted(state) => Some(state.clone()),
            _ => None,
        })
    }

    pub fn over(&mut self) -> RunState {
        self.state("end of the run", |state| matches!(state, RunState::Ended | RunState::Failed { .. }))
    }

    /// Waits for the figures of this step or a later one.
    pub fn step(&mut self, least: u64) -> u64 {
        self.until("step", |reply| match reply {
            Reply::Event { event } => match **event {
                Event::Step(ref metrics) if metrics.step >= least => Some(metrics.step),
                _ => None,
            },
            _ => None,
        })
    }

    /// How a task ended, and what it said.
    pub fn task(&mut self, wanted: u64) -> (TaskEnding, String) {
        self.until("end of the task", |reply| match reply {
            Reply::Task { number, text, ending: Some(ending) } if *number == wanted => Some((*ending, text.clone())),
            _ => None,
        })
    }

    pub fn start(&self, config: &RunConfig) {
        self.workers.send(Request::Start { setup: Box::new(demo_of(config)) });
    }

    /// The events of runs that were received so far.
    pub fn events(&self) -> Vec<Event> {
        let event = |reply: &Reply| match reply {
            Reply::Event { event } => Some((**event).clone()),
            _ => None,
        };
        self.replies.iter().filter_map(event).collect()
    }
}

pub fn demo_of(config: &RunConfig) -> Setup {
    Setup { config: config.clone(), demo: true, ..Setup::default() }
}

/// The embedded demo, made short.
pub fn short(out: &Path, steps: u64) -> RunConfig {
    let mut config = demo::config();
    config.sample_prompts.0.truncate(1);
    RunConfig {
        out: out.to_path_buf(),
        device: DeviceChoice::Cpu,
        steps,
        batch_size: 2,
        warmup_steps: 0,
        eval_steps: 0,
        eval_batches: 1,
        logging_steps: 1,
        sample_tokens: 4,
        schedule: Schedule::Constant,
        ..config
    }
}

pub fn ending(events: &[Event]) -> Option<(Ending, u64)> {
    events.iter().rev().find_map(|event| match event {
        Event::Finished { ending, step, .. } => Some((*ending, *step)),
        _ => None,
    })
}

/// The events are the same, up to the last digit of figures that were written and read.
pub fn assert_same_events(one: &[Event], other: &[Event]) {
    assert_eq!(one.len(), other.len(), "{one:?}\n{other:?}");
    for (one, other) in one.iter().zip(other) {
        let json = |event: &Event| serde_json::to_value(event).expect("JSON");
        assert_same(&json(one), &json(other));
    }
}

/// Everything that comes of a watched folder, until it has ended and the last of it has come.
pub fn watched(front: &mut Front, folder: &Path) -> Vec<Event> {
    let mut all = Vec::new();
    front.until("end of the record", |reply| match reply {
        Reply::Watched { folder: of, events, anew, running, problem } if of == folder => {
            assert!(!anew && (problem.is_none() || events.is_empty()), "{problem:?}");
            all.extend(events.iter().cloned());
            (!running && ending(&all).is_some()).then_some(())
        }
        _ => None,
    });
    all
}
