//! The page: settings on the left; memory, command and start button on the right.

use eframe::egui::{self, Button, CollapsingHeader, Grid, Label, Panel, RichText, ScrollArea, TextEdit, Ui, vec2};

use super::{
    field::{field, title},
    form::Form,
};
use crate::{
    event::messages::{Estimate, Request},
    format::bytes,
    window::{dialogs::Dialogs, options::Options, theme, widgets::dot},
};

/// The settings at the top, below the method and its main setting; the others are in collapsed sections by heading.
const FIRST: [&str; 9] = [
    "target_modules",
    "steps",
    "epochs",
    "batch_size",
    "learning_rate",
    "max_seq_length",
    "device",
    "seed",
    "sample_prompts",
];

/// Paths of model and data, above all others.
const PATHS: [&str; 3] = ["model", "data", "valid_data"];

impl Form {
    /// Draws the page; returns a check to request, or the run to start.
    pub fn page(&mut self, ui: &mut Ui, options: &Options, dialogs: &Dialogs, busy: bool) -> Option<Request> {
        let (mut request, again) = self.check();
        if let Some(wait) = again {
            ui.ctx().request_repaint_after(wait);
        }
        let mut start = false;
        Panel::right("summary").default_size(330.0).size_range(270.0..=520.0).show(ui, |ui| {
            theme::bounded(ui, |ui| {
                ScrollArea::vertical().id_salt("summary").auto_shrink(false).show(ui, |ui| {
                    start = self.summary(ui, busy);
                });
            });
        });
        ScrollArea::vertical().id_salt("form").auto_shrink(false).show(ui, |ui| {
            ui.heading("New run");
            self.fields(ui, options, dialogs);
        });
        if start {
            let (setup, unreadable) = self.setup();
            if unreadable.is_empty() {
                request = Some(Request::Start { setup: Box::new(setup) });
            }
        }
        request
    }

    fn fields(&mut self, ui: &mut Ui, options: &Options, dialogs: &Dialogs) {
        ui.horizontal_wrapped(|ui| {
            let before = self.demo;
            ui.radio_value(&mut self.demo, true, "Built-in demo")
                .on_hover_text("A small language model and a small data set, ready to train in seconds");
            ui.radio_value(&mut self.demo, false, "My model and data")
                .on_hover_text("A model folder in the Hugging Face layout, and a file of text, JSON Lines, CSV, TSV or Parquet. Both can be dropped on the window");
            if self.demo != before {
                self.touch();
            }
        });
        ui.add_space(6.0);
        let grid = |id: &str| Grid::new(id.to_owned()).num_columns(2).spacing([16.0, 8.0]).min_col_width(120.0);
        grid("paths").show(ui, |ui| {
            for name in PATHS {
                if self.is_read(name) {
                    field(ui, self, name, options, dialogs);
                }
            }
            self.out(ui, options, dialogs);
        });
        ui.add_space(8.0);
        grid("first").show(ui, |ui| {
            for name in self.first() {
                field(ui, self, name, options, dialogs);
            }
        });
        ui.add_space(8.0);
        let mut headings: Vec<String> = Vec::new();
        for info in &self.settings {
            if !headings.contains(&info.heading) {
                headings.push(info.heading.clone());
            }
        }
        for heading in headings {
            let rest = self.rest(&heading);
            if rest.is_empty() {
                continue;
            }
            let changed = rest.iter().filter(|name| self.is_typed(name)).count();
            let faulty = rest.iter().any(|name| self.fault(name).is_some());
            let words = if heading.is_empty() { "Model" } else { &heading };
            let mut text = RichText::new(if changed > 0 {
                format!("{words}: more ({changed} changed)")
            } else {
                format!("{words}: more")
            });
            if faulty {
                text = text.color(ui.visuals().error_fg_color);
            }
            // An error must be visible.
            let header = CollapsingHeader::new(text).id_salt(("more", words)).open(faulty.then_some(true));
            header.show(ui, |ui| {
                grid(words).show(ui, |ui| rest.iter().for_each(|name| field(ui, self, name, options, dialogs)));
            });
        }
        ui.add_space(8.0);
        if ui.button("Reset all").on_hover_text("Reset all settings to their defaults").clicked() {
            self.reset_all();
        }
    }

    /// The settings that are shown at the top.
    fn first(&self) -> Vec<&'static str> {
        let main = self.main_setting().filter(|name| !FIRST.contains(name));
        ["method"].into_iter().chain(main).chain(FIRST.into_iter().filter(|name| self.is_read(name))).collect()
    }

    /// The settings of a heading that are not shown above.
    fn rest(&self, heading: &str) -> Vec<String> {
        let first = self.first();
        let above = |name: &str| first.contains(&name) || PATHS.contains(&name) || name == "out";
        let here = self.settings.iter().filter(|info| info.heading == heading && !above(&info.name));
        here.filter(|info| self.is_read(&info.name)).map(|info| info.name.clone()).collect()
    }

    fn out(&mut self, ui: &mut Ui, options: &Options, dialogs: &Dialogs) {
        field(ui, self, "out", options, dialogs);
        let folder = self.config().0.out;
        ui.label("");
        ui.vertical(|ui| {
            if !self.is_typed("out") {
                ui.small(RichText::new(format!("default: {}", folder.display())).weak());
            }
            let taken = self.fault("out").is_some_and(|fault| fault.contains("a run in this folder"));
            if (taken || self.overwrite) && ui.checkbox(&mut self.overwrite, "Replace the run in this folder").changed()
            {
                self.touch();
            }
        });
        ui.end_row();
    }

    /// Draws the right side; returns whether the run is to start.
    fn summary(&mut self, ui: &mut Ui, busy: bool) -> bool {
        ui.add_space(4.0);
        for line in &self.model_and_data {
            ui.add(Label::new(line).wrap());
        }
        ui.add_space(6.0);
        match &self.estimate {
            Some(estimate) => memory(ui, estimate),
            None => {
                ui.weak("The memory estimate is shown as soon as model and data are known.");
            }
        }
        ui.add_space(10.0);
        for fault in &self.faults {
            let known = self.settings.iter().any(|info| info.name == fault.setting);
            let text =
                if known { format!("{}: {}", title(&fault.setting), fault.message) } else { fault.message.clone() };
            ui.add(Label::new(RichText::new(text).color(ui.visuals().error_fg_color)).wrap());
        }
        let hover = if busy {
            "This window already trains a run; stop it first"
        } else if !self.faults.is_empty() {
            "Some settings have errors: see the red lines"
        } else {
            "Start the run"
        };
        let text = RichText::new("Start").size(17.0).strong().color(egui::Color32::WHITE);
        let fill = theme::accent(ui.visuals()).gamma_multiply(if ui.visuals().dark_mode { 0.7 } else { 1.0 });
        let button = Button::new(text).fill(fill);
        let enabled = !busy && self.faults.is_empty();
        let size = vec2(ui.available_width(), 38.0);
        let start = ui.add_enabled_ui(enabled, |ui| ui.add_sized(size, button)).inner;
        let start = start.on_hover_text(hover).on_disabled_hover_text(hover).clicked();
        if let Some([first, second]) = self.comparison() {
            ui.checkbox(&mut self.compare, format!("Compare {first} with {second}")).on_hover_text(format!(
                "Two runs, one after the other, in the same charts: {first}, then {second} with as many trainable parameters"
            ));
        }
        if !self.is_checked() {
            ui.horizontal(|ui| {
                ui.spinner();
                ui.weak("checking");
            });
        }
        ui.add_space(12.0);
        self.command(ui);
        start
    }

    fn command(&self, ui: &mut Ui) {
        let command = self.command_line();
        ui.horizontal(|ui| {
            ui.strong("Equivalent command");
            if ui.small_button("Copy").clicked() {
                ui.ctx().copy_text(command.clone());
            }
        });
        let mut shown = command.as_str();
        let label = ui.label("");
        ui.add(
            TextEdit::multiline(&mut shown)
                .font(egui::TextStyle::Monospace)
                .desired_width(f32::INFINITY)
                .desired_rows(3),
        )
        .labelled_by(label.id);
    }
}

/// The memory estimate as a bar of its parts against the limit.
fn memory(ui: &mut Ui, estimate: &Estimate) {
    let fits = estimate.limit_bytes.is_none_or(|limit| estimate.total_bytes <= limit);
    ui.horizontal_wrapped(|ui| {
        ui.strong("Memory");
        let total = format!("about {}", bytes(estimate.total_bytes));
        let color = if fits { ui.visuals().text_color() } else { ui.visuals().error_fg_color };
        ui.label(RichText::new(total).strong().color(color));
        if let Some(limit) = estimate.limit_bytes {
            ui.weak(format!("of {}", bytes(limit)));
        }
    });
    let (bar, response) = ui.allocate_exact_size(vec2(ui.available_width(), 14.0), egui::Sense::hover());
    let whole = estimate.limit_bytes.unwrap_or(0).max(estimate.total_bytes).max(1) as f32;
    ui.painter().rect_filled(bar, 4, ui.visuals().faint_bg_color);
    let mut left = bar.left();
    for (at, (_, part)) in estimate.parts.iter().enumerate() {
        let width = bar.width() * *part as f32 / whole;
        let rect = egui::Rect::from_min_size(egui::pos2(left, bar.top()), vec2(width, bar.height()));
        ui.painter().rect_filled(rect, 2, theme::run_color(ui.visuals(), at));
        left += width;
    }
    response.widget_info(|| {
        let limit = estimate.limit_bytes.map_or_else(String::new, |limit| format!(" of {}", bytes(limit)));
        egui::WidgetInfo::labeled(
            egui::Role::Image,
            true,
            format!("Memory estimate: {}{limit}", bytes(estimate.total_bytes)),
        )
    });
    Grid::new("parts").num_columns(3).min_col_width(0.0).spacing([10.0, 0.0]).show(ui, |ui| {
        ui.spacing_mut().interact_size.y = 16.0;
        for (at, (name, part)) in estimate.parts.iter().enumerate() {
            dot(ui, theme::run_color(ui.visuals(), at));
            ui.small(name);
            ui.small(bytes(*part));
            ui.end_row();
        }
    });
    if !fits {
        ui.colored_label(
            ui.visuals().error_fg_color,
            "This does not fit into the memory of the device. To make it fit:",
        );
    }
    for advice in &estimate.advice {
        ui.add(Label::new(RichText::new(advice).small()).wrap());
    }
}
