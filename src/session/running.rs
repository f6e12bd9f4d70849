//! A run that is polled, receives commands, and pauses.

use std::time::Duration;

use super::pause::breathe;
use crate::{
    Result,
    event::{Command, Event},
    train::{Run, run::Turn},
};

/// How often a paused run looks whether it may continue.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Where a front end's commands come from. Those of other processes come through the folder of the run.
pub trait Commands {
    /// The next command, waited for no longer than `time`.
    fn within(&mut self, time: Duration) -> impl Future<Output = Option<Command>>;
}

/// What a session reports.
#[derive(Debug)]
pub enum Update {
    /// Something happened in the run.
    Event(Event),
    /// A command of the front end was received.
    Received(Command),
    /// It trains from now on.
    Running,
    /// It stands still from now on.
    Paused,
}

/// A run that has begun.
pub struct Session {
    run: Run,
    /// What was reported last; nothing at the start.
    paused: Option<bool>,
}

impl Session {
    /// Takes care of a run.
    pub fn new(run: Run) -> Self {
        Self { run, paused: None }
    }

    /// Lets the run work until there is something to report; `None` when it is over. A paused run waits here for a command
    /// to continue.
    ///
    /// # Errors
    /// As [`Run::next`]. The run is over then.
    pub async fn next(&mut self, commands: &mut impl Commands) -> Result<Option<Update>> {
        loop {
            let paused = self.run.paused();
            if self.paused.replace(paused) != Some(paused) {
                return Ok(Some(if paused { Update::Paused } else { Update::Running }));
            }
            if let Some(command) = commands.within(if paused { LOOK_AGAIN } else { Duration::ZERO }).await {
                self.run.tell(command);
                return Ok(Some(Update::Received(command)));
            }
            if paused {
                self.run.listen();
                continue;
            }
            match self.run.turn().await? {
                Turn::Event(event) => return Ok(Some(Update::Event(event))),
                Turn::Worked => breathe().await,
                Turn::Over => return Ok(None),
            }
        }
    }

    /// The run.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Ends the run because of a failure outside of it, such as a panic of the layers below.
    pub fn fail(&mut self, message: &str) {
        self.run.fail(message);
    }
}
