//! What surrounds the pages: the bar on top, the message at the bottom, the list of keys, the question at the end.

use std::sync::atomic::Ordering;

use eframe::egui::{self, Key, KeyboardShortcut, Modifiers, RichText, Ui, ViewportCommand};

use super::{App, Closing, Notice, Page};
use crate::window::{panels::steer::Steering, theme};

/// The pages in their order, with what the bar calls them.
pub(super) const PAGES: [(Page, &str, KeyboardShortcut); 4] = [
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
    pub(super) fn bar(&mut self, ui: &mut Ui) {
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

    pub(super) fn notice(&mut self, ui: &mut Ui) {
        let Some(Notice { text, is_fault, go_on }) = &self.notice else { return };
        let color = if *is_fault { ui.visuals().error_fg_color } else { ui.visuals().text_color() };
        let mut going_on = None;
        let close = ui.horizontal(|ui| {
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let mut close = ui.small_button("Dismiss").clicked();
                if go_on.is_some() && ui.button(RichText::new("Go on").strong()).clicked() {
                    going_on.clone_from(go_on);
                    close = true;
                }
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
        if let Some(folder) = going_on {
            self.selected = Some(self.place(&folder));
            self.steer(&ui.ctx().clone(), Steering::GoOn);
        }
    }

    pub(super) fn close(&mut self, ctx: &egui::Context) {
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

    pub(super) fn help(&mut self, ctx: &egui::Context) {
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
}

/// Says what can be dropped.
pub(super) fn drop_hint(ctx: &egui::Context) {
    let painter = ctx.layer_painter(egui::LayerId::new(egui::Order::Foreground, egui::Id::unique("drop")));
    let area = ctx.content_rect();
    painter.rect_filled(area, 0, egui::Color32::from_black_alpha(160));
    let text = "Drop a model folder, a data file, or the folder of a run or of an adapter";
    painter.text(
        area.center(),
        egui::Align2::CENTER_CENTER,
        text,
        egui::FontId::proportional(22.0),
        egui::Color32::WHITE,
    );
}
