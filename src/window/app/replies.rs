//! Replies of the workers.

use std::path::Path;

use super::state::{App, Notice};
use crate::{
    event::{
        Event,
        messages::{Reply, RunState},
    },
    window::data::run::Status,
};

impl App {
    pub(super) fn receive(&mut self, reply: Reply) {
        match reply {
            Reply::Devices { devices } => self.form.devices = devices,
            Reply::Checked { number, faults, facts, estimate } => self.form.checked(number, faults, facts, estimate),
            Reply::State { state } => self.run_state_changed(state),
            Reply::Event { event } => {
                if let Some(run) = self.live_run() {
                    run.apply(&event);
                }
            }
            Reply::Watched { folder, events, anew, running, problem } => {
                self.folder_events(&folder, &events, anew, running, problem);
            }
            Reply::Text { number, adapted, text, done } => self.adapter_page.append_text(number, adapted, &text, done),
            Reply::Task { number, text, ending } => self.adapter_page.update_task(number, text, ending),
        }
    }

    fn run_state_changed(&mut self, state: RunState) {
        let failure = match &state {
            RunState::Failed { message } => Some(message.clone()),
            _ => None,
        };
        let is_over = matches!(state, RunState::Ended | RunState::Failed { .. });
        match self.live_run() {
            Some(run) => {
                run.status = match state {
                    RunState::Failed { message } => {
                        run.add_log_line(run.step(), message.clone(), true);
                        Status::Failed(message)
                    }
                    // Its last event said how it ended.
                    RunState::Ended if matches!(run.status, Status::Over(_)) => run.status.clone(),
                    state => Status::Live(state),
                };
            }
            None => {
                if let Some(message) = failure {
                    self.show_message(message, true);
                }
            }
        }
        if is_over {
            let over = self.live.take();
            self.form.touch();
            self.start_next_run(self.runs.iter().position(|run| Some(&run.folder) == over.as_ref()));
        }
    }

    /// Events from the record of a run that this window does not train.
    fn folder_events(&mut self, folder: &Path, events: &[Event], anew: bool, running: bool, problem: Option<String>) {
        if self.live.as_deref() == Some(folder) {
            return;
        }
        let Some(run) = self.runs.iter_mut().find(|run| run.folder == folder) else { return };
        if anew {
            run.reset();
        }
        events.iter().for_each(|event| run.apply(event));
        if running {
            run.status = Status::OtherProcess;
        } else if matches!(run.status, Status::OtherProcess | Status::Opening) {
            let offers = self.options.offers_resume && run.status == Status::Opening && run.step() > 0;
            run.status = Status::Interrupted;
            if offers && self.live.is_none() {
                let text = format!("{} was interrupted at step {}.", run.name, run.step());
                self.notice = Some(Notice { text, is_fault: false, resume: Some(folder.to_path_buf()) });
            }
        }
        if let Some(problem) = problem {
            run.add_log_line(run.step(), problem, true);
        }
    }
}
