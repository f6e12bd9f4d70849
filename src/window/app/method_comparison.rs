//! Two methods compared: one run after the other, the second with as many trainable parameters as the first.

use super::state::App;
use crate::{
    event::{Ending, messages::Setup},
    window::data::run::{RunView, Status},
};

impl App {
    /// Starts the first run; the second starts when it is complete.
    pub(super) fn start_method_comparison(&mut self, [first, second]: [Setup; 2]) {
        self.start(first);
        self.next_run = Some(second);
    }

    /// Starts the second run, if the run at index `ended` of the list was the first and is complete.
    pub(super) fn start_next_run(&mut self, ended: Option<usize>) {
        let Some(mut second) = self.next_run.take() else { return };
        let complete = |run: &&RunView| matches!(run.status, Status::Over(Ending::Completed | Ending::EarlyStop));
        let first = ended.and_then(|at| self.runs.get(at)).filter(complete);
        let Some(started) = first.and_then(|first| first.started.as_ref()) else { return };
        second.config.trainable_parameters = started.trained_parameters;
        self.start(second);
    }
}
