//! Two runs side by side: LoRA, then SpaRTA with as many trained numbers. In this order because a low-rank product has
//! only some numbers to choose from, and a sparse selection any.

use super::App;
use crate::{
    event::Ending,
    window::data::run::{RunView, Status},
};

impl App {
    /// Starts the first of the two; the second follows by itself.
    pub(super) fn start_pair(&mut self) {
        let [first, second] = ["lora", "sparta"].map(|method| self.form.setup_with(method));
        self.start(first);
        self.second = Some(second);
    }

    /// Starts the second, if the run at this place in the list was the first and is complete.
    pub(super) fn go_on_with_pair(&mut self, at: Option<usize>) {
        let Some(mut second) = self.second.take() else { return };
        let complete = |run: &&RunView| matches!(run.status, Status::Over(Ending::Completed | Ending::EarlyStop));
        let first = at.and_then(|at| self.runs.get(at)).filter(complete);
        let Some(started) = first.and_then(|first| first.started.as_ref()) else { return };
        second.config.trainable_parameters = started.trained_parameters;
        self.start(second);
    }
}
