//! What is drawn over the pages: the question when the window is closed, the list of shortcuts, the hint while a file is
//! dragged.

use std::sync::atomic::Ordering;

use eframe::egui::{self, RichText, ViewportCommand};

use super::state::App;
use crate::window::options::Closing;

const SHORTCUTS: [(&str, &str); 8] = [
    ("Space", "pause or resume the run"),
    ("Ctrl+S", "write a checkpoint"),
    ("Ctrl+.", "stop and save"),
    ("Ctrl+N", "new run"),
    ("Ctrl+O", "open the folder of a run"),
    ("Ctrl+1 … Ctrl+4", "New run, Charts, Compare, Use"),
    ("Ctrl++  Ctrl+-  Ctrl+0", "zoom in, zoom out, reset zoom"),
    ("Tab, Shift+Tab, Enter", "move through all controls"),
];

impl App {
    pub(super) fn closing_dialog(&mut self, ctx: &egui::Context) {
        if self.options.stop.load(Ordering::Relaxed) && !self.may_close {
            self.may_close = true;
            ctx.send_viewport_cmd(ViewportCommand::Close);
        }
        let requested = ctx.input(|input| input.viewport().close_requested());
        if requested && self.live.is_some() && !self.may_close {
            ctx.send_viewport_cmd(ViewportCommand::CancelClose);
            self.asks_before_closing = true;
        }
        if !self.asks_before_closing {
            return;
        }
        let mut decided = None;
        let modal = egui::Modal::new(egui::Id::unique("closing")).show(ctx, |ui| {
            ui.set_max_width(420.0);
            ui.heading("A run is in progress");
            ui.label("Stop it and save a checkpoint to resume it later, or leave it running without a window: it is listed again the next time you open agoge.");
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
            self.asks_before_closing = false;
        }
        if let Some(decision) = decided {
            if let Ok(mut closing) = self.closing.lock() {
                *closing = decision;
            }
            (self.may_close, self.asks_before_closing) = (true, false);
            ctx.send_viewport_cmd(ViewportCommand::Close);
        }
    }

    pub(super) fn help_dialog(&mut self, ctx: &egui::Context) {
        if !self.shows_help {
            return;
        }
        let modal = egui::Modal::new(egui::Id::unique("shortcuts")).show(ctx, |ui| {
            ui.heading("Keyboard shortcuts");
            egui::Grid::new("shortcuts").num_columns(2).spacing([24.0, 6.0]).show(ui, |ui| {
                for (key, what) in SHORTCUTS {
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
            self.shows_help = false;
        }
    }
}

/// Names what can be dropped, over the whole window.
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
