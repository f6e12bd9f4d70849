//! The window: it hears the desk, holds the runs, and hands its room to the pages.

mod edges;
mod pair;
mod runs;
mod steering;

pub use runs::runs_in;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use eframe::egui::{self, CentralPanel, Panel, Ui};

use super::{
    charts,
    data::run::RunView,
    dialogs::{Dialogs, Kind, Purpose},
    link::Link,
    pace::Pace,
    panels::{self, runs::Click},
    remember::Remembered,
    start::Form,
    theme,
    workbench::Workbench,
};
use crate::{
    config::RunConfig,
    event::messages::{Request, Setup},
    storage,
};

/// What the window is opened with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where new runs are written unless a person says otherwise.
    pub runs_folder: PathBuf,
    /// Settings of the demo.
    pub demo: RunConfig,
    /// What can be chosen for settings whose values are names: setting, then the names.
    pub choices: Vec<(&'static str, Vec<String>)>,
    /// Layouts that an adapter can be exported in, with a word on each.
    pub layouts: Vec<(String, String)>,
    /// Files by which a folder is known to hold an adapter.
    pub adapter_files: Vec<&'static str>,
    /// A run to start at once.
    pub start: Option<Setup>,
    /// Folders of runs to look at.
    pub watch: Vec<PathBuf>,
    /// Whether to offer going on with a run that was interrupted: on a page, which can be closed at any time.
    pub offers_to_go_on: bool,
    /// Becomes true when the program is told to end (Ctrl-C): the window closes and the run is stopped and saved.
    pub stop: Arc<AtomicBool>,
}

/// What is to become of a run that is under way when the window is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Closing {
    /// Stop it and save.
    #[default]
    Stop,
    /// Let it run to its end without a window.
    LeaveRunning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Start,
    Charts,
    Compare,
    Use,
}

/// A message at the lower edge.
struct Notice {
    text: String,
    is_fault: bool,
    /// The run that it offers to go on with.
    go_on: Option<PathBuf>,
}

/// The window.
pub struct App {
    link: Link,
    options: Options,
    pace: Pace,
    remembered: Remembered,
    runs: Vec<RunView>,
    /// Folder of the run that this window trains.
    live: Option<PathBuf>,
    /// The run that follows it, where two are put side by side.
    second: Option<Setup>,
    selected: Option<usize>,
    page: Page,
    form: Form,
    workbench: Workbench,
    dialogs: Dialogs,
    /// Text in the field of the learning rate.
    rate: String,
    notice: Option<Notice>,
    /// A picture of a chart is being taken: the outcome.
    picture: Arc<Mutex<Option<crate::Result<Vec<u8>>>>>,
    picture_of: &'static str,
    show_help: bool,
    ask_closing: bool,
    closing: Arc<Mutex<Closing>>,
    may_close: bool,
}

impl App {
    /// A window with its line to the desk. `closing` tells whoever opened it what a person decided at the end.
    pub fn new(
        ctx: &egui::Context,
        link: Link,
        options: Options,
        remembered: Remembered,
        pace: Pace,
        closing: Arc<Mutex<Closing>>,
    ) -> Self {
        theme::apply(ctx);
        (link.ask)(Request::Devices);
        let form = Form::new(&options, &remembered);
        let mut workbench = Workbench::default();
        workbench.prompt.clone_from(&remembered.prompt);
        let mut app = Self {
            link,
            pace,
            runs: Vec::new(),
            live: None,
            second: None,
            selected: None,
            page: Page::Start,
            form,
            workbench,
            dialogs: Dialogs::default(),
            rate: String::new(),
            notice: None,
            picture: Arc::default(),
            picture_of: "",
            show_help: false,
            ask_closing: false,
            closing,
            may_close: false,
            remembered,
            options,
        };
        for (folder, visible) in app.remembered.runs.clone() {
            if storage::is_dir(&folder) {
                let at = app.watch(&folder);
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

    /// The run that the window looks at.
    pub fn selected(&self) -> Option<&RunView> {
        self.runs.get(self.selected?)
    }

    fn ask(&self, request: Request) {
        (self.link.ask)(request);
    }

    /// Says something at the lower edge.
    pub fn say(&mut self, text: impl Into<String>, is_fault: bool) {
        self.notice = Some(Notice { text: text.into(), is_fault, go_on: None });
    }

    fn page(&mut self, ui: &mut Ui) {
        let busy = self.live.is_some();
        match self.page {
            Page::Start => {
                if let Some(request) = self.form.page(ui, &self.options, &self.dialogs, busy) {
                    match request {
                        Request::Start { .. } if self.form.pair && self.form.can_be_paired() => self.start_pair(),
                        Request::Start { setup } => self.start(*setup),
                        other => self.ask(other),
                    }
                }
            }
            Page::Charts => self.charts(ui, busy),
            Page::Compare => {
                ui.heading("Compare");
                if self.runs.is_empty() {
                    ui.weak("No run yet. Start one, or open the folder of one.");
                    return;
                }
                let smoothing = self.remembered.charts.smoothing;
                for run in &mut self.runs {
                    run.steps.smoothed.of(run.steps.loss.values(), smoothing);
                }
                if let Some(at) = panels::compare::table(ui, &mut self.runs, &mut self.remembered.sorted_by) {
                    (self.selected, self.page) = (Some(at), Page::Charts);
                }
                ui.add_space(8.0);
                if let Some(wish) = charts::panel(ui, &mut self.runs, &mut self.remembered.charts) {
                    self.grant(ui.ctx(), wish);
                }
            }
            Page::Use => {
                let run = self.selected.and_then(|at| self.runs.get(at));
                for request in
                    self.workbench.page(ui, run, &self.options.layouts, &self.dialogs, self.link.download.as_deref())
                {
                    self.ask(request);
                }
            }
        }
    }

    fn charts(&mut self, ui: &mut Ui, busy: bool) {
        if let Some(run) = self.selected.and_then(|at| self.runs.get(at)) {
            let steering = panels::steer::steer(ui, run, &mut self.rate, busy);
            ui.add_space(2.0);
            panels::tiles::tiles(ui, run);
            if let Some(steering) = steering {
                self.steer(ui.ctx(), steering);
            }
        }
        if let Some(wish) = charts::panel(ui, &mut self.runs, &mut self.remembered.charts) {
            self.grant(ui.ctx(), wish);
        }
    }

    /// What is to be remembered.
    fn remembered(&self) -> Remembered {
        let mut remembered = Remembered {
            runs: self.runs.iter().map(|run| (run.folder.clone(), run.visible)).collect(),
            form: self.form.texts(),
            demo: self.form.demo,
            prompt: self.workbench.prompt.clone(),
            ..self.remembered.clone()
        };
        remembered.bound();
        remembered
    }
}

/// Name under which the window's memory is stored.
pub const STORAGE_KEY: &str = "agoge-window";

/// Time that a frame gives to replies at most: a long record must not stall the window.
const HEARING_SECS: f64 = 0.006;

impl eframe::App for App {
    /// For the page, which hands it what is dropped.
    #[cfg(target_arch = "wasm32")]
    fn as_any_mut(&mut self) -> Option<&mut dyn std::any::Any> {
        Some(self)
    }

    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        let started = web_time::Instant::now();
        while let Some(reply) = (self.link.hear)() {
            self.hear(reply);
            if started.elapsed().as_secs_f64() > HEARING_SECS {
                ctx.request_repaint();
                break;
            }
        }
    }

    fn ui(&mut self, ui: &mut Ui, frame: &mut eframe::Frame) {
        if let Some(secs) = frame.info().cpu_usage {
            self.pace.measured(f64::from(secs));
        }
        let ctx = ui.ctx().clone();
        self.keys(ui);
        self.files(&ctx);
        Panel::top("bar").show(ui, |ui| {
            ui.add_space(3.0);
            self.bar(ui);
            ui.add_space(1.0);
        });
        if self.notice.is_some() {
            Panel::bottom("notice").show(ui, |ui| self.notice(ui));
        }
        Panel::left("runs").default_size(200.0).size_range(150.0..=420.0).show(ui, |ui| {
            ui.add_space(4.0);
            match theme::bounded(ui, |ui| panels::runs::list(ui, &mut self.runs, self.selected)) {
                Some(Click::Select(at)) => {
                    self.selected = Some(at);
                    if self.page != Page::Use {
                        self.page = Page::Charts;
                    }
                }
                Some(Click::Remove(at)) => {
                    let run = self.runs.remove(at);
                    self.ask(Request::Forget { folder: run.folder });
                    self.selected = match self.selected {
                        Some(selected) if selected > at => Some(selected - 1),
                        Some(selected) if selected == at => self.runs.len().checked_sub(1).map(|last| last.min(at)),
                        other => other,
                    };
                }
                Some(Click::Open) => {
                    self.dialogs.open(&ctx, Kind::Folder, "Folder of a run, or of several", Purpose::OpenRun);
                }
                Some(Click::New) => self.page = Page::Start,
                None => {}
            }
        });
        if self.page == Page::Charts {
            Panel::right("side").default_size(290.0).size_range(220.0..=600.0).show(ui, |ui| {
                ui.add_space(4.0);
                let run = self.selected.and_then(|at| self.runs.get(at));
                theme::bounded(ui, |ui| panels::side(ui, &mut self.remembered.side, run));
            });
        }
        CentralPanel::default_margins().show(ui, |ui| self.page(ui));
        self.close(&ctx);
        self.help(&ctx);
        if ctx.input(|input| !input.raw.hovered_files.is_empty()) {
            edges::drop_hint(&ctx);
        }
    }

    fn save(&mut self, memory: &mut dyn eframe::Storage) {
        eframe::set_value(memory, STORAGE_KEY, &self.remembered());
    }
}
