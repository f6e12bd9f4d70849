//! What a person does: buttons, keys, files that are dropped or chosen, charts that are saved.

use std::path::Path;

use eframe::egui::{self, Key, KeyboardShortcut, Modifiers, Ui, ViewportCommand};

use super::{App, Page, edges::PAGES, runs::is_run};
use crate::{
    Error,
    config::RunConfig,
    event::{
        Command,
        messages::{Request, RunState, Setup},
    },
    files, storage,
    window::{
        charts::{Wish, export},
        data::run::Status,
        dialogs::{Kind, Purpose},
        panels::steer::Steering,
    },
};

const NEW: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::N);
const OPEN: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::O);
const SAVE: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::S);
const STOP: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::Period);

impl App {
    pub(super) fn steer(&mut self, ctx: &egui::Context, steering: Steering) {
        let Some(at) = self.selected else { return };
        let folder = self.runs[at].folder.clone();
        let is_live = self.live.as_ref() == Some(&folder);
        match steering {
            Steering::Pause => self.ask(Request::Pause),
            Steering::Resume => self.ask(Request::Resume),
            Steering::Tell(command) if is_live => {
                self.ask(Request::Tell { command });
                match command {
                    Command::SetLearningRate(rate) => {
                        self.say(format!("The learning rate is {rate:e} from the next step on."), false);
                    }
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
                let stored = RunConfig::stored(&folder);
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

    pub(super) fn keys(&mut self, ui: &Ui) {
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

    pub(super) fn files(&mut self, ctx: &egui::Context) {
        // A page takes what is dropped before the window does: the window would read all of it into memory.
        #[cfg(not(target_arch = "wasm32"))]
        for file in ctx.input(|input| input.raw.dropped_files.clone()) {
            self.dropped(file.path());
        }
        while let Some((purpose, path)) = self.dialogs.chosen() {
            match (purpose, path) {
                (Purpose::Setting(name), Some(path)) => self.form.set(&name, path.display().to_string()),
                (Purpose::OpenRun, Some(path)) => self.open(&path),
                (Purpose::MergeInto, Some(path)) => self.workbench.merge_into = path.display().to_string(),
                (Purpose::ExportInto, Some(path)) => self.workbench.export_into = path.display().to_string(),
                (Purpose::Save(name, content), path) => {
                    let path = path.unwrap_or_else(|| self.options.runs_folder.join(name));
                    self.write(&path, &content);
                }
                (Purpose::OpenRun, None) => self.say(
                    "This desktop has no file dialog; drop the folder of the run here, or use agoge watch FOLDER.",
                    true,
                ),
                (_, None) => self.say("This desktop has no file dialog; type the path, or drop it here.", true),
            }
        }
        let picture = self.picture.lock().ok().and_then(|mut picture| picture.take());
        match picture {
            Some(Ok(content)) => {
                self.dialogs.open(
                    ctx,
                    Kind::NewFile(self.picture_of, "png"),
                    "Save the chart",
                    Purpose::Save(format!("{}.png", self.picture_of), content),
                );
            }
            Some(Err(error)) => self.say(error.to_string(), true),
            None => {}
        }
    }

    /// A file or folder was dropped on the window.
    pub fn dropped(&mut self, path: &Path) {
        if is_run(path) || self.is_adapter_alone(path) {
            self.open(path);
        } else {
            self.page = Page::Start;
            self.form.dropped(path);
        }
    }

    fn write(&mut self, path: &Path, content: &[u8]) {
        let folder = path.parent().unwrap_or(Path::new("."));
        let made = storage::create_dir_all(folder).map_err(|e| Error::file("create", folder, e));
        match made.and_then(|()| files::write(path, content)) {
            Ok(()) => self.say(format!("Written: {}", path.display()), false),
            Err(error) => self.say(error.to_string(), true),
        }
    }

    pub(super) fn grant(&mut self, ctx: &egui::Context, wish: Wish) {
        match wish {
            Wish::Csv(metric) => {
                let content = export::csv(metric, &self.runs).into_bytes();
                self.dialogs.open(
                    ctx,
                    Kind::NewFile(metric.file_stem(), "csv"),
                    "Save the numbers",
                    Purpose::Save(format!("{}.csv", metric.file_stem()), content),
                );
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
}
