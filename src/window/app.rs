//! The window: it hears the desk, holds the runs, and hands its room to the pages.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use eframe::egui::{self, CentralPanel, Key, KeyboardShortcut, Modifiers, Panel, RichText, Ui, ViewportCommand};

use super::{
    charts::{self, Wish, export},
    data::run::{RunView, Status},
    dialogs::{Dialogs, Kind, Purpose},
    link::Link,
    pace::Pace,
    panels::{self, runs::Click, steer::Steering},
    remember::Remembered,
    start::Form,
    theme,
    workbench::Workbench,
};
use crate::{
    config::RunConfig,
    event::{
        Command, Event,
        messages::{Reply, Request, RunState, Setup},
    },
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
    /// A run to start at once.
    pub start: Option<Setup>,
    /// Folders of runs to look at.
    pub watch: Vec<PathBuf>,
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

const NEW: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::N);
const OPEN: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::O);
const SAVE: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::S);
const STOP: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::Period);
const PAGES: [(Page, &str, KeyboardShortcut); 4] = [
    (Page::Start, "New run", KeyboardShortcut::new(Modifiers::COMMAND, Key::Num1)),
    (Page::Charts, "Charts", KeyboardShortcut::new(Modifiers::COMMAND, Key::Num2)),
    (Page::Compare, "Compare", KeyboardShortcut::new(Modifiers::COMMAND, Key::Num3)),
    (Page::Use, "Use", KeyboardShortcut::new(Modifiers::COMMAND, Key::Num4)),
];
const THEMES: [(egui::ThemePreference, &str); 3] = [
    (egui::ThemePreference::System, "Auto"),
    (egui::ThemePreference::Light, "Light"),
    (egui::ThemePreference::Dark, "Dark"),
];
const HELP: [(&str, &str); 8] = [
    ("Space", "pause or resume the run"),
    ("Ctrl+S", "write a checkpoint"),
    ("Ctrl+.", "stop and save"),
    ("Ctrl+N", "start page"),
    ("Ctrl+O", "open the folder of a run"),
    ("Ctrl+1 … Ctrl+4", "New run, Charts, Compare, Use"),
    ("Ctrl++  Ctrl+-  Ctrl+0", "larger, smaller, as the display says"),
    ("Tab, Shift+Tab, Enter", "walk through everything that can be clicked"),
];

impl App {
    /// A window with its line to the desk. `closing` tells whoever opened it what a person decided at the end.
    pub fn new(ctx: &egui::Context, link: Link, options: Options, remembered: Remembered, pace: Pace, closing: Arc<Mutex<Closing>>) -> Self {
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
            if folder.is_dir() {
                let at = app.watch(&folder);
                app.runs[at].visible = visible;
            }
        }
        for folder in app.options.watch.clone() {
            app.selected = Some(app.watch(&folder));
            app.page = Page::Charts;
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

    fn say(&mut self, text: impl Into<String>, is_fault: bool) {
        self.notice = Some(Notice { text: text.into(), is_fault });
    }

    /// The place of the run in `folder` in the list, put there if it is new.
    fn place(&mut self, folder: &Path) -> usize {
        self.runs.iter().position(|run| run.folder == folder).unwrap_or_else(|| {
            // The colour that the fewest runs have.
            let uses = |color: usize| self.runs.iter().filter(|run| run.color == color).count();
            let color = (0..10).min_by_key(|&color| uses(color)).unwrap_or(0);
            self.runs.push(RunView::new(folder.to_path_buf(), color));
            self.runs.len() - 1
        })
    }

    /// Follows the run in `folder`.
    fn watch(&mut self, folder: &Path) -> usize {
        let at = self.place(folder);
        if self.live.as_deref() != Some(folder) {
            self.ask(Request::Watch { folder: folder.to_path_buf() });
        }
        at
    }

    /// Opens the run in `folder`, or all runs in the folders below it.
    fn open(&mut self, folder: &Path) {
        let is_run = |folder: &Path| folder.join("metrics.jsonl").exists();
        let mut found = if is_run(folder) { vec![folder.to_path_buf()] } else { Vec::new() };
        if found.is_empty() {
            let below = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
            found.extend(below.filter(|folder| is_run(folder)));
            found.sort();
        }
        if found.is_empty() {
            self.say(format!("{}: there is no run in this folder (no metrics.jsonl)", folder.display()), true);
        }
        for folder in found {
            self.selected = Some(self.watch(&folder));
            self.page = Page::Charts;
        }
    }

    fn start(&mut self, setup: Setup) {
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

    fn live_run(&mut self) -> Option<&mut RunView> {
        let folder = self.live.as_deref()?;
        self.runs.iter_mut().find(|run| run.folder == folder)
    }

    fn hear(&mut self, reply: Reply) {
        match reply {
            Reply::Devices { devices } => self.form.devices(devices),
            Reply::Checked { number, faults, facts, estimate } => self.form.checked(number, faults, facts, estimate),
            Reply::State { state } => self.state(state),
            Reply::Event { event } => {
                if let Some(run) = self.live_run() {
                    run.hear(&event);
                }
            }
            Reply::Watched { folder, events, anew, running, problem } => self.news(&folder, &events, anew, running, problem),
            Reply::Text { number, adapted, text, done } => self.workbench.text(number, adapted, &text, done),
            Reply::Task { number, text, ending } => self.workbench.task(number, text, ending),
        }
    }

    fn state(&mut self, state: RunState) {
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
            self.live = None;
            self.form.touch();
        }
    }

    fn news(&mut self, folder: &Path, events: &[Event], anew: bool, running: bool, problem: Option<String>) {
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
            run.status = Status::Interrupted;
        }
        if let Some(problem) = problem {
            run.note(run.step(), problem, true);
        }
    }

    fn steer(&mut self, ctx: &egui::Context, steering: Steering) {
        let Some(at) = self.selected else { return };
        let folder = self.runs[at].folder.clone();
        let is_live = self.live.as_ref() == Some(&folder);
        match steering {
            Steering::Pause => self.ask(Request::Pause),
            Steering::Resume => self.ask(Request::Resume),
            Steering::Tell(command) if is_live => {
                self.ask(Request::Tell { command });
                match command {
                    Command::SetLearningRate(rate) => self.say(format!("The learning rate is {rate:e} from the next step on."), false),
                    Command::Save => self.say("A checkpoint is written after this step.", false),
                    Command::Stop => self.say("The run stops after this step and saves.", false),
                    Command::Pause | Command::Resume => {}
                }
            }
            Steering::Tell(command) => {
                self.ask(Request::TellFolder { folder, command });
                self.say("The process that trains this run hears it at its next report.", false);
            }
            Steering::GoOn => {
                let stored = super::start::stored(&folder);
                match stored {
                    Ok(config) => self.start(Setup { config, demo: false, resume: true, overwrite: false }),
                    Err(error) => self.say(error.to_string(), true),
                }
            }
            Steering::Again => {
                match self.form.take_settings_of(&folder) {
                    Ok(()) => self.page = Page::Start,
                    Err(error) => self.say(error.to_string(), true),
                }
                ctx.request_repaint();
            }
            Steering::Use => self.page = Page::Use,
        }
    }

    fn keys(&mut self, ui: &Ui) {
        let ctx = ui.ctx().clone();
        let pressed = |shortcut: &KeyboardShortcut| ctx.input_mut(|input| input.consume_shortcut(shortcut));
        for (page, _, shortcut) in &PAGES {
            if pressed(shortcut) {
                self.page = *page;
            }
        }
        if pressed(&NEW) {
            self.page = Page::Start;
        }
        if pressed(&OPEN) {
            self.dialogs.open(&ctx, Kind::Folder, "Folder of a run, or of several", Purpose::OpenRun);
        }
        let state = self.live_run().map(|run| run.status.clone());
        if let Some(Status::Live(state)) = state {
            if pressed(&SAVE) {
                self.ask(Request::Tell { command: Command::Save });
            }
            if pressed(&STOP) {
                self.ask(Request::Tell { command: Command::Stop });
            }
            let nothing_focused = ctx.memory(|memory| memory.focused().is_none());
            if nothing_focused && ctx.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Space)) {
                match state {
                    RunState::Running => self.ask(Request::Pause),
                    RunState::Paused => self.ask(Request::Resume),
                    _ => {}
                }
            }
        }
        if ctx.input_mut(|input| input.consume_key(Modifiers::NONE, Key::F1)) {
            self.show_help = !self.show_help;
        }
    }

    fn files(&mut self, ctx: &egui::Context) {
        for file in ctx.input(|input| input.raw.dropped_files.clone()) {
            let path = file.path().to_path_buf();
            if path.join("metrics.jsonl").exists() {
                self.open(&path);
            } else {
                self.page = Page::Start;
                self.form.dropped(&path);
            }
        }
        while let Some((purpose, path)) = self.dialogs.chosen() {
            match purpose {
                Purpose::Setting(name) => self.form.set(&name, path.display().to_string()),
                Purpose::OpenRun => self.open(&path),
                Purpose::MergeInto => self.workbench.merge_into = path.display().to_string(),
                Purpose::ExportInto => self.workbench.export_into = path.display().to_string(),
                Purpose::Save(content) => match export::save(&path, &content) {
                    Ok(()) => self.say(format!("Written: {}", path.display()), false),
                    Err(error) => self.say(error.to_string(), true),
                },
            }
        }
        let picture = self.picture.lock().ok().and_then(|mut picture| picture.take());
        match picture {
            Some(Ok(content)) => {
                self.dialogs.open(ctx, Kind::NewFile(self.picture_of, "png"), "Save the chart", Purpose::Save(content));
            }
            Some(Err(error)) => self.say(error.to_string(), true),
            None => {}
        }
    }

    fn grant(&mut self, ctx: &egui::Context, wish: Wish) {
        match wish {
            Wish::Csv(metric) => {
                let content = export::csv(metric, &self.runs).into_bytes();
                self.dialogs.open(ctx, Kind::NewFile(metric.file_stem(), "csv"), "Save the numbers", Purpose::Save(content));
            }
            Wish::Png(metric, rect) => {
                self.picture_of = metric.file_stem();
                let (slot, scale, waker) = (self.picture.clone(), ctx.pixels_per_point(), ctx.clone());
                let taken = egui::ScreenshotCallback::new(move |window| {
                    if let Ok(mut slot) = slot.lock() {
                        *slot = Some(export::png(&window, rect, scale));
                    }
                    waker.request_repaint();
                });
                ctx.send_viewport_cmd(ViewportCommand::Screenshot(taken));
            }
        }
    }

    fn bar(&mut self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            ui.label(RichText::new("agoge").size(18.0).strong().color(theme::accent(ui.visuals())));
            ui.add_space(8.0);
            for (page, title, shortcut) in PAGES {
                let hover = ui.ctx().format_shortcut(&shortcut);
                let selected = self.page == page;
                if ui.selectable_label(selected, title).on_hover_text(hover).clicked() {
                    self.page = page;
                }
            }
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                if ui.button("Keys").on_hover_text("What the keyboard does (F1)").clicked() {
                    self.show_help = !self.show_help;
                }
                let mut theme = ui.ctx().options(|options| options.theme_preference);
                for (value, title) in THEMES.iter().rev() {
                    ui.selectable_value(&mut theme, *value, *title);
                }
                ui.ctx().set_theme(theme);
            });
        });
    }

    fn notice(&mut self, ui: &mut Ui) {
        let Some(Notice { text, is_fault }) = &self.notice else { return };
        let color = if *is_fault { ui.visuals().error_fg_color } else { ui.visuals().text_color() };
        let close = ui.horizontal(|ui| {
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let close = ui.small_button("Dismiss").clicked();
                ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                    ui.add(egui::Label::new(RichText::new(text).color(color)).wrap());
                });
                close
            })
            .inner
        });
        if close.inner {
            self.notice = None;
        }
    }

    fn page(&mut self, ui: &mut Ui) {
        let busy = self.live.is_some();
        match self.page {
            Page::Start => {
                if let Some(request) = self.form.page(ui, &self.options, &self.dialogs, busy) {
                    match request {
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
                let limit = self.form.memory_limit();
                if let Some(wish) = charts::panel(ui, &mut self.runs, limit, &mut self.remembered.charts) {
                    self.grant(ui.ctx(), wish);
                }
            }
            Page::Use => {
                let run = self.selected.and_then(|at| self.runs.get(at));
                for request in self.workbench.page(ui, run, &self.dialogs) {
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
        let limit = self.form.memory_limit();
        if let Some(wish) = charts::panel(ui, &mut self.runs, limit, &mut self.remembered.charts) {
            self.grant(ui.ctx(), wish);
        }
    }

    fn close(&mut self, ctx: &egui::Context) {
        if self.options.stop.load(Ordering::Relaxed) && !self.may_close {
            self.may_close = true;
            ctx.send_viewport_cmd(ViewportCommand::Close);
        }
        let asked = ctx.input(|input| input.viewport().close_requested());
        if asked && self.live.is_some() && !self.may_close {
            ctx.send_viewport_cmd(ViewportCommand::CancelClose);
            self.ask_closing = true;
        }
        if !self.ask_closing {
            return;
        }
        let mut decided = None;
        let modal = egui::Modal::new(egui::Id::unique("closing")).show(ctx, |ui| {
            ui.set_max_width(420.0);
            ui.heading("A run is under way");
            ui.label("It can be stopped, so that it can go on later, or left running without a window; it is found again when agoge is opened the next time.");
            ui.add_space(8.0);
            ui.horizontal(|ui| {
                if ui.button(RichText::new("Stop and save").strong()).clicked() {
                    decided = Some(Closing::Stop);
                }
                if ui.button("Leave it running").clicked() {
                    decided = Some(Closing::LeaveRunning);
                }
                if ui.button("Cancel").clicked() {
                    ui.close();
                }
            });
        });
        if modal.should_close() {
            self.ask_closing = false;
        }
        if let Some(decision) = decided {
            if let Ok(mut closing) = self.closing.lock() {
                *closing = decision;
            }
            (self.may_close, self.ask_closing) = (true, false);
            ctx.send_viewport_cmd(ViewportCommand::Close);
        }
    }

    fn help(&mut self, ctx: &egui::Context) {
        if !self.show_help {
            return;
        }
        let modal = egui::Modal::new(egui::Id::unique("keys")).show(ctx, |ui| {
            ui.heading("Keys");
            egui::Grid::new("keys").num_columns(2).spacing([24.0, 6.0]).show(ui, |ui| {
                for (key, what) in HELP {
                    ui.monospace(key);
                    ui.label(what);
                    ui.end_row();
                }
            });
            ui.add_space(6.0);
            if ui.button("Close").clicked() {
                ui.close();
            }
        });
        if modal.should_close() {
            self.show_help = false;
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
            drop_hint(&ctx);
        }
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        eframe::set_value(storage, STORAGE_KEY, &self.remembered());
    }
}

/// Says what can be dropped.
fn drop_hint(ctx: &egui::Context) {
    let painter = ctx.layer_painter(egui::LayerId::new(egui::Order::Foreground, egui::Id::unique("drop")));
    let area = ctx.content_rect();
    painter.rect_filled(area, 0, egui::Color32::from_black_alpha(160));
    let text = "Drop a model folder, a data file, or the folder of a run";
    painter.text(area.center(), egui::Align2::CENTER_CENTER, text, egui::FontId::proportional(22.0), egui::Color32::WHITE);
}
