//! The runs of the window: where they come from, and what the desk says of them.

use std::path::{Path, PathBuf};

use super::{App, Notice, Page};
use crate::{
    Error, Result,
    event::{
        Event,
        messages::{Reply, Request, RunState, Setup},
    },
    storage,
    window::data::run::{RunView, Status},
};

/// Whether there is the record of a run in a folder.
pub(super) fn is_run(folder: &Path) -> bool {
    storage::exists(folder.join("metrics.jsonl"))
}

/// The run in a folder, or those in the folders right below it, by name.
///
/// # Errors
/// The folder cannot be read.
pub fn runs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if is_run(folder) {
        return Ok(vec![folder.to_path_buf()]);
    }
    let below = storage::list(folder).map_err(|e| Error::file("read", folder, e))?;
    Ok(below.into_iter().filter(|folder| is_run(folder)).collect())
}

impl App {
    /// The place of the run in `folder` in the list, put there if it is new.
    pub(super) fn place(&mut self, folder: &Path) -> usize {
        self.runs.iter().position(|run| run.folder == folder).unwrap_or_else(|| {
            // The colour that the fewest runs have.
            let uses = |color: usize| self.runs.iter().filter(|run| run.color == color).count();
            let color = (0..10).min_by_key(|&color| uses(color)).unwrap_or(0);
            self.runs.push(RunView::new(folder.to_path_buf(), color));
            self.runs.len() - 1
        })
    }

    /// Whether there is an adapter in a folder, and no record of how it came to be.
    pub(super) fn is_adapter_alone(&self, folder: &Path) -> bool {
        !is_run(folder) && self.options.adapter_files.iter().any(|file| storage::exists(folder.join(file)))
    }

    /// Follows the run in `folder`; of an adapter alone there is nothing to follow.
    pub(super) fn watch(&mut self, folder: &Path) -> usize {
        let at = self.place(folder);
        if self.is_adapter_alone(folder) {
            self.runs[at].status = Status::Alone;
        } else if self.live.as_deref() != Some(folder) {
            self.ask(Request::Watch { folder: folder.to_path_buf() });
        }
        at
    }

    /// Shows the run or the adapter in `folder`.
    pub(super) fn open_one(&mut self, folder: &Path) {
        let at = self.watch(folder);
        self.selected = Some(at);
        self.page = if self.runs[at].status == Status::Alone { Page::Use } else { Page::Charts };
    }

    /// Opens the run or the adapter in `folder`, or all runs in the folders below it.
    pub(super) fn open(&mut self, folder: &Path) {
        if self.is_adapter_alone(folder) {
            self.open_one(folder);
            return;
        }
        let found = runs_in(folder).unwrap_or_default();
        if found.is_empty() {
            self.say(format!("{}: there is no run in this folder (no metrics.jsonl)", folder.display()), true);
        }
        for folder in found {
            self.open_one(&folder);
        }
    }

    pub(super) fn start(&mut self, setup: Setup) {
        let folder = setup.config.out.clone();
        self.ask(Request::Forget { folder: folder.clone() });
        let at = self.place(&folder);
        if !setup.resume {
            self.runs[at].begin_anew();
        }
        self.runs[at].status = Status::Live(RunState::Preparing { what: "getting ready".into() });
        self.runs[at].visible = true;
        self.selected = Some(at);
        self.live = Some(folder);
        self.page = Page::Charts;
        self.ask(Request::Start { setup: Box::new(setup) });
    }

    pub(super) fn live_run(&mut self) -> Option<&mut RunView> {
        let folder = self.live.as_deref()?;
        self.runs.iter_mut().find(|run| run.folder == folder)
    }

    pub(super) fn hear(&mut self, reply: Reply) {
        match reply {
            Reply::Devices { devices } => self.form.devices(devices),
            Reply::Checked { number, faults, facts, estimate } => self.form.checked(number, faults, facts, estimate),
            Reply::State { state } => self.state(state),
            Reply::Event { event } => {
                if let Some(run) = self.live_run() {
                    run.hear(&event);
                }
            }
            Reply::Watched { folder, events, anew, running, problem } => {
                self.news(&folder, &events, anew, running, problem);
            }
            Reply::Text { number, adapted, text, done } => self.workbench.text(number, adapted, &text, done),
            Reply::Task { number, text, ending } => self.workbench.task(number, text, ending),
        }
    }

    pub(super) fn state(&mut self, state: RunState) {
        let failure = match &state {
            RunState::Failed { message } => Some(message.clone()),
            _ => None,
        };
        let is_over = matches!(state, RunState::Ended | RunState::Failed { .. });
        match self.live_run() {
            Some(run) => {
                run.status = match state {
                    RunState::Failed { message } => {
                        run.note(run.step(), message.clone(), true);
                        Status::Failed(message)
                    }
                    // How it ended was told by its last event.
                    RunState::Ended if matches!(run.status, Status::Over(_)) => run.status.clone(),
                    state => Status::Live(state),
                };
            }
            None => {
                if let Some(message) = failure {
                    self.say(message, true);
                }
            }
        }
        if is_over {
            let over = self.live.take();
            self.form.touch();
            self.go_on_with_pair(self.runs.iter().position(|run| Some(&run.folder) == over.as_ref()));
        }
    }

    pub(super) fn news(&mut self, folder: &Path, events: &[Event], anew: bool, running: bool, problem: Option<String>) {
        if self.live.as_deref() == Some(folder) {
            return;
        }
        let Some(run) = self.runs.iter_mut().find(|run| run.folder == folder) else { return };
        if anew {
            run.begin_anew();
        }
        events.iter().for_each(|event| run.hear(event));
        if running {
            run.status = Status::Elsewhere;
        } else if matches!(run.status, Status::Elsewhere | Status::Opening) {
            let offers = self.options.offers_to_go_on && run.status == Status::Opening && run.step() > 0;
            run.status = Status::Interrupted;
            if offers && self.live.is_none() {
                let text = format!("{} was interrupted at step {}.", run.name, run.step());
                self.notice = Some(Notice { text, is_fault: false, go_on: Some(folder.to_path_buf()) });
            }
        }
        if let Some(problem) = problem {
            run.note(run.step(), problem, true);
        }
    }
}
