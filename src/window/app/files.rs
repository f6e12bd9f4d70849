//! Files that are dropped on the window, chosen in a dialog, or written by it.

use std::path::Path;

use eframe::egui::{self, ViewportCommand};

use super::state::{App, Page};
use crate::{
    Error, files, storage,
    window::{
        charts::{ChartExport, export},
        dialogs::{DialogKind, Purpose},
        run_folders::is_run,
    },
};

impl App {
    pub(super) fn files(&mut self, ctx: &egui::Context) {
        // A page takes dropped files before the window does: the window would read all of them into memory.
        #[cfg(not(target_arch = "wasm32"))]
        for file in ctx.input(|input| input.raw.dropped_files.clone()) {
            self.dropped(file.path());
        }
        while let Some((purpose, path)) = self.dialogs.chosen() {
            match (purpose, path) {
                (Purpose::Setting(name), Some(path)) => self.form.set(&name, path.display().to_string()),
                (Purpose::OpenRun, Some(path)) => self.open(&path),
                (Purpose::MergeInto, Some(path)) => self.adapter_page.merge_into = path.display().to_string(),
                (Purpose::ExportInto, Some(path)) => self.adapter_page.export_into = path.display().to_string(),
                (Purpose::Save(name, content), path) => {
                    let path = path.unwrap_or_else(|| self.options.runs_folder.join(name));
                    self.write(&path, &content);
                }
                (Purpose::OpenRun, None) => self.show_message(
                    "This desktop has no file dialog; drop the folder of the run here, or use agoge watch FOLDER.",
                    true,
                ),
                (_, None) => {
                    self.show_message("This desktop has no file dialog; type the path, or drop it here.", true);
                }
            }
        }
        let image = self.chart_image.lock().ok().and_then(|mut image| image.take());
        match image {
            Some(Ok(content)) => self.save_chart(ctx, self.chart_image_name, "png", "Save the chart", content),
            Some(Err(error)) => self.show_message(error.to_string(), true),
            None => {}
        }
    }

    /// A file or folder was dropped on the window.
    pub fn dropped(&mut self, path: &Path) {
        if is_run(path) || self.is_adapter_only(path) {
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
            Ok(()) => self.show_message(format!("Written: {}", path.display()), false),
            Err(error) => self.show_message(error.to_string(), true),
        }
    }

    fn save_chart(
        &self,
        ctx: &egui::Context,
        name: &'static str,
        extension: &'static str,
        title: &str,
        content: Vec<u8>,
    ) {
        let purpose = Purpose::Save(format!("{name}.{extension}"), content);
        self.dialogs.open(ctx, DialogKind::NewFile(name, extension), title, purpose);
    }

    pub(super) fn export_chart(&mut self, ctx: &egui::Context, chart: ChartExport) {
        match chart {
            ChartExport::Csv(metric) => {
                let content = export::csv(metric, &self.runs).into_bytes();
                self.save_chart(ctx, metric.file_stem(), "csv", "Save the data", content);
            }
            ChartExport::Image(metric, rect) => {
                self.chart_image_name = metric.file_stem();
                let (slot, scale, waker) = (self.chart_image.clone(), ctx.pixels_per_point(), ctx.clone());
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
