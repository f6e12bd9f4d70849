//! Keyboard shortcuts.

use eframe::egui::{Key, KeyboardShortcut, Modifiers, Ui};

use super::{
    state::{App, Page},
    top_bar::PAGES,
};
use crate::{
    event::{
        Command,
        messages::{Request, RunState},
    },
    window::data::run::Status,
};

const NEW: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::N);
const OPEN: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::O);
const SAVE: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::S);
const STOP: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::Period);

impl App {
    pub(super) fn shortcuts(&mut self, ui: &Ui) {
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
            self.choose_run(&ctx);
        }
        let status = self.live_run().map(|run| run.status.clone());
        if let Some(Status::Live(state)) = status {
            for (shortcut, command) in [(&SAVE, Command::Save), (&STOP, Command::Stop)] {
                if pressed(shortcut) {
                    self.send(Request::Tell { command });
                }
            }
            let nothing_focused = ctx.memory(|memory| memory.focused().is_none());
            if nothing_focused && ctx.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Space)) {
                match state {
                    RunState::Running => self.send(Request::Pause),
                    RunState::Paused => self.send(Request::Resume),
                    _ => {}
                }
            }
        }
        if ctx.input_mut(|input| input.consume_key(Modifiers::NONE, Key::F1)) {
            self.shows_help = !self.shows_help;
        }
    }
}
