//! One frame: replies are received, then panels and the selected page are drawn.

use eframe::egui::{self, CentralPanel, Panel, Ui};

use super::{
    overlays,
    state::{App, Page},
};
use crate::{
    event::messages::Request,
    window::{
        charts,
        dialogs::{DialogKind, Purpose},
        panels::{self, run_list::RunListAction},
        theme,
    },
};

/// Seconds of a frame that receiving replies may take: a long record must not stall the window.
const RECEIVE_SECS: f64 = 0.006;

impl App {
    fn page(&mut self, ui: &mut Ui) {
        let busy = self.live.is_some();
        match self.page {
            Page::Start => {
                if let Some(request) = self.form.page(ui, &self.options, &self.dialogs, busy) {
                    match request {
                        Request::Start { setup } => match self.form.compared_setups() {
                            Some(setups) => self.start_method_comparison(setups),
                            None => self.start(*setup),
                        },
                        other => self.send(other),
                    }
                }
            }
            Page::Charts => self.run_page(ui, busy),
            Page::Compare => {
                ui.heading("Compare");
                if self.runs.is_empty() {
                    ui.weak("No run yet. Start one, or open the folder of one.");
                    return;
                }
                let smoothing = self.saved.charts.smoothing;
                for run in &mut self.runs {
                    run.steps.smoothed.of(run.steps.loss.values(), smoothing);
                }
                if let Some(at) = panels::compare::table(ui, &mut self.runs, &mut self.saved.sorted_by) {
                    (self.selected, self.page) = (Some(at), Page::Charts);
                }
                ui.add_space(8.0);
                self.charts(ui);
            }
            Page::Use => {
                let run = self.selected.and_then(|at| self.runs.get(at));
                let download = self.link.download_folder.as_deref();
                for request in self.adapter_page.page(ui, run, &self.options.layouts, &self.dialogs, download) {
                    self.send(request);
                }
            }
        }
    }

    fn run_page(&mut self, ui: &mut Ui, busy: bool) {
        if let Some(run) = self.selected.and_then(|at| self.runs.get(at)) {
            let action = panels::run_controls::controls(ui, run, &mut self.learning_rate, busy);
            ui.add_space(2.0);
            panels::key_metrics::key_metrics(ui, run);
            if let Some(action) = action {
                self.act_on_run(ui.ctx(), action);
            }
        }
        self.charts(ui);
    }

    fn charts(&mut self, ui: &mut Ui) {
        if let Some(export) = charts::panel(ui, &mut self.runs, &mut self.saved.charts) {
            self.export_chart(ui.ctx(), export);
        }
    }

    fn run_list(&mut self, ui: &mut Ui) {
        match theme::bounded(ui, |ui| panels::run_list::list(ui, &mut self.runs, self.selected)) {
            Some(RunListAction::Select(at)) => {
                self.selected = Some(at);
                if self.page != Page::Use {
                    self.page = Page::Charts;
                }
            }
            Some(RunListAction::Remove(at)) => {
                let run = self.runs.remove(at);
                self.send(Request::Forget { folder: run.folder });
                self.selected = match self.selected {
                    Some(selected) if selected > at => Some(selected - 1),
                    Some(selected) if selected == at => self.runs.len().checked_sub(1).map(|last| last.min(at)),
                    other => other,
                };
            }
            Some(RunListAction::Open) => self.choose_run(ui.ctx()),
            Some(RunListAction::New) => self.page = Page::Start,
            None => {}
        }
    }

    /// Opens the dialog for the folder of a run.
    pub(super) fn choose_run(&self, ctx: &egui::Context) {
        self.dialogs.open(ctx, DialogKind::Folder, "Folder of a run, or of several", Purpose::OpenRun);
    }
}

impl eframe::App for App {
    /// For the page, which passes it the paths of dropped files.
    #[cfg(target_arch = "wasm32")]
    fn as_any_mut(&mut self) -> Option<&mut dyn std::any::Any> {
        Some(self)
    }

    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        let started = web_time::Instant::now();
        while let Some(reply) = (self.link.receive)() {
            self.receive(reply);
            if started.elapsed().as_secs_f64() > RECEIVE_SECS {
                ctx.request_repaint();
                break;
            }
        }
    }

    fn ui(&mut self, ui: &mut Ui, frame: &mut eframe::Frame) {
        if let Some(secs) = frame.info().cpu_usage {
            self.repaint_interval.measured(f64::from(secs));
        }
        let ctx = ui.ctx().clone();
        self.shortcuts(ui);
        self.files(&ctx);
        Panel::top("bar").show(ui, |ui| {
            ui.add_space(3.0);
            self.top_bar(ui);
            ui.add_space(1.0);
        });
        if self.notice.is_some() {
            Panel::bottom("notice").show(ui, |ui| self.notice(ui));
        }
        Panel::left("runs").default_size(200.0).size_range(150.0..=420.0).show(ui, |ui| {
            ui.add_space(4.0);
            self.run_list(ui);
        });
        if self.page == Page::Charts {
            Panel::right("side").default_size(290.0).size_range(220.0..=600.0).show(ui, |ui| {
                ui.add_space(4.0);
                let run = self.selected.and_then(|at| self.runs.get(at));
                theme::bounded(ui, |ui| panels::side(ui, &mut self.saved.side, run));
            });
        }
        CentralPanel::default_margins().show(ui, |ui| self.page(ui));
        self.closing_dialog(&ctx);
        self.help_dialog(&ctx);
        if ctx.input(|input| !input.raw.hovered_files.is_empty()) {
            overlays::drop_hint(&ctx);
        }
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        self.state_to_save().save(storage);
    }
}
