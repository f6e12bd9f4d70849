//! The message at the bottom.

use eframe::egui::{self, RichText, Ui};

use super::state::{App, Notice};
use crate::window::panels::run_controls::RunAction;

impl App {
    pub(super) fn notice(&mut self, ui: &mut Ui) {
        let Some(Notice { text, is_fault, resume }) = &self.notice else { return };
        let color = if *is_fault { ui.visuals().error_fg_color } else { ui.visuals().text_color() };
        let mut resumed = None;
        let close = ui.horizontal(|ui| {
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let mut close = ui.small_button("Dismiss").clicked();
                if resume.is_some() && ui.button(RichText::new("Resume").strong()).clicked() {
                    resumed.clone_from(resume);
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
        if let Some(folder) = resumed {
            self.selected = Some(self.find_or_add(&folder));
            self.act_on_run(&ui.ctx().clone(), RunAction::ResumeFromCheckpoint);
        }
    }
}
