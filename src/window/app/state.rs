//! The state of the application: the runs in its list, the page that is shown, and what it asks of the workers.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use eframe::egui;

use crate::{
    event::messages::{Request, RunState, Setup},
    storage,
    window::{
        adapter_page::AdapterPage,
        data::run::{RunView, Status},
        dialogs::Dialogs,
        link::Link,
        options::{Closing, Options},
        repaint_interval::RepaintInterval,
        run_folders::{is_run, runs_in},
        saved_state::SavedState,
        start::Form,
        theme,
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Start,
    Charts,
    Compare,
    Use,
}

/// A message at the bottom of the window.
pub(super) struct Notice {
    pub(super) text: String,
    pub(super) is_fault: bool,
    /// Folder of the run that it offers to resume.
    pub(super) resume: Option<PathBuf>,
}

/// The application.
pub struct App {
    pub(super) link: Link,
    pub(super) options: Options,
    pub(super) repaint_interval: RepaintInterval,
    pub(super) saved: SavedState,
    pub(super) runs: Vec<RunView>,
    /// Folder of the run that this window trains.
    pub(super) live: Option<PathBuf>,
    /// The run to start after the live one, where two methods are compared.
    pub(super) next_run: Option<Setup>,
    pub(super) selected: Option<usize>,
    pub(super) page: Page,
    pub(super) form: Form,
    pub(super) adapter_page: AdapterPage,
    pub(super) dialogs: Dialogs,
    /// Text in the field of the learning rate.
    pub(super) learning_rate: String,
    pub(super) notice: Option<Notice>,
    /// The image of a chart, once the screenshot has been taken.
    pub(super) chart_image: Arc<Mutex<Option<crate::Result<Vec<u8>>>>>,
    pub(super) chart_image_name: &'static str,
    pub(super) shows_help: bool,
    pub(super) asks_before_closing: bool,
    pub(super) closing: Arc<Mutex<Closing>>,
    pub(super) may_close: bool,
}

impl App {
    /// An application connected to the workers. It writes to `closing` what a person chose when the window is closed.
    pub fn new(
        ctx: &egui::Context,
        link: Link,
        options: Options,
        saved: SavedState,
        repaint_interval: RepaintInterval,
        closing: Arc<Mutex<Closing>>,
    ) -> Self {
        theme::apply(ctx);
        (link.send)(Request::Devices);
        let form = Form::new(&options, &saved);
        let mut adapter_page = AdapterPage::default();
        adapter_page.prompt.clone_from(&saved.prompt);
        let mut app = Self {
            link,
            repaint_interval,
            runs: Vec::new(),
            live: None,
            next_run: None,
            selected: None,
            page: Page::Start,
            form,
            adapter_page,
            dialogs: Dialogs::default(),
            learning_rate: String::new(),
            notice: None,
            chart_image: Arc::default(),
            chart_image_name: "",
            shows_help: false,
            asks_before_closing: false,
            closing,
            may_close: false,
            saved,
            options,
        };
        for (folder, visible) in app.saved.runs.clone() {
            if storage::is_dir(&folder) {
                let at = app.follow(&folder);
                app.runs[at].visible = visible;
            }
        }
        for folder in app.options.watch.clone() {
            app.open_one(&folder);
        }
        if app.selected.is_none() && !app.runs.is_empty() {
            app.selected = Some(app.runs.len() - 1);
        }
        if let Some(setup) = app.options.start.clone() {
            app.start(setup);
        }
        app
    }

    /// The runs in the list.
    pub fn runs(&self) -> &[RunView] {
        &self.runs
    }

    /// The selected run.
    pub fn selected(&self) -> Option<&RunView> {
        self.runs.get(self.selected?)
    }

    pub(super) fn send(&self, request: Request) {
        (self.link.send)(request);
    }

    /// Shows a message at the bottom of the window.
    pub fn show_message(&mut self, text: impl Into<String>, is_fault: bool) {
        self.notice = Some(Notice { text: text.into(), is_fault, resume: None });
    }

    /// Index in the list of the run in `folder`; adds it if it is new.
    pub(super) fn find_or_add(&mut self, folder: &Path) -> usize {
        self.runs.iter().position(|run| run.folder == folder).unwrap_or_else(|| {
            // The colour that the fewest runs have.
            let uses = |color: usize| self.runs.iter().filter(|run| run.color == color).count();
            let color = (0..10).min_by_key(|&color| uses(color)).unwrap_or(0);
            self.runs.push(RunView::new(folder.to_path_buf(), color));
            self.runs.len() - 1
        })
    }

    /// Whether a folder holds an adapter without the record of a run.
    pub(super) fn is_adapter_only(&self, folder: &Path) -> bool {
        !is_run(folder) && self.options.adapter_files.iter().any(|file| storage::exists(folder.join(file)))
    }

    /// Follows the run in `folder`; an adapter without a run has no events to follow.
    fn follow(&mut self, folder: &Path) -> usize {
        let at = self.find_or_add(folder);
        if self.is_adapter_only(folder) {
            self.runs[at].status = Status::AdapterOnly;
        } else if self.live.as_deref() != Some(folder) {
            self.send(Request::Watch { folder: folder.to_path_buf() });
        }
        at
    }

    /// Shows the run or the adapter in `folder`.
    fn open_one(&mut self, folder: &Path) {
        let at = self.follow(folder);
        self.selected = Some(at);
        self.page = if self.runs[at].status == Status::AdapterOnly { Page::Use } else { Page::Charts };
    }

    /// Opens the run or the adapter in `folder`, or all runs in the folders below it.
    pub(super) fn open(&mut self, folder: &Path) {
        if self.is_adapter_only(folder) {
            self.open_one(folder);
            return;
        }
        let found = runs_in(folder).unwrap_or_default();
        if found.is_empty() {
            self.show_message(format!("{}: there is no run in this folder (no metrics.jsonl)", folder.display()), true);
        }
        for folder in found {
            self.open_one(&folder);
        }
    }

    /// Starts a run and shows its charts.
    pub(super) fn start(&mut self, setup: Setup) {
        let folder = setup.config.out.clone();
        self.send(Request::Forget { folder: folder.clone() });
        let at = self.find_or_add(&folder);
        if !setup.resume {
            self.runs[at].reset();
        }
        self.runs[at].status = Status::Live(RunState::Preparing { what: "getting ready".into() });
        self.runs[at].visible = true;
        self.selected = Some(at);
        self.live = Some(folder);
        self.page = Page::Charts;
        self.send(Request::Start { setup: Box::new(setup) });
    }

    /// The run that this window trains.
    pub(super) fn live_run(&mut self) -> Option<&mut RunView> {
        let folder = self.live.as_deref()?;
        self.runs.iter_mut().find(|run| run.folder == folder)
    }

    /// The state to save until the window is opened again.
    pub(super) fn state_to_save(&self) -> SavedState {
        let mut saved = SavedState {
            runs: self.runs.iter().map(|run| (run.folder.clone(), run.visible)).collect(),
            form: self.form.texts(),
            demo: self.form.demo,
            prompt: self.adapter_page.prompt.clone(),
            ..self.saved.clone()
        };
        saved.limit_runs();
        saved
    }
}
