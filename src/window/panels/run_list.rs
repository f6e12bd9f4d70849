//! The list of runs on the left.

use eframe::egui::{self, Align, Layout, RichText, ScrollArea, Sense, Ui, Vec2};

use crate::window::{
    data::run::{RunView, Status},
    theme,
    widgets::name_button,
};

/// An action in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunListAction {
    /// Select this run.
    Select(usize),
    /// Remove this run from the list; its files stay.
    Remove(usize),
    /// Open the folder of a run.
    Open,
    /// Show the start page.
    New,
}

/// The colour of a status.
pub fn status_color(ui: &Ui, status: &Status) -> egui::Color32 {
    let visuals = ui.visuals();
    match status.label() {
        "failed" => visuals.error_fg_color,
        "paused" | "interrupted" | "stopped" => visuals.warn_fg_color,
        "training" | "training elsewhere" | "preparing" => theme::good(visuals),
        _ => visuals.weak_text_color(),
    }
}

/// Draws the list; `selected` is the run that the window looks at.
pub fn list(ui: &mut Ui, runs: &mut [RunView], selected: Option<usize>) -> Option<RunListAction> {
    let mut click = None;
    ui.horizontal(|ui| {
        ui.strong("Runs");
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui.button("Open…").on_hover_text("Open the folder of a run, training or finished (Ctrl+O)").clicked() {
                click = Some(RunListAction::Open);
            }
            if ui.button("New").on_hover_text("Start a run (Ctrl+N)").clicked() {
                click = Some(RunListAction::New);
            }
        });
    });
    ui.separator();
    ScrollArea::vertical().id_salt("runs").auto_shrink(false).show(ui, |ui| {
        for (at, run) in runs.iter_mut().enumerate() {
            let id = run.folder.clone();
            ui.push_id(id, |ui| {
                if let Some(found) = row(ui, at, run, selected == Some(at)) {
                    click = Some(found);
                }
            });
        }
        if runs.is_empty() {
            ui.weak("No run yet. Start one, or drop the folder of a run here.");
        }
    });
    click
}

fn row(ui: &mut Ui, at: usize, run: &mut RunView, is_selected: bool) -> Option<RunListAction> {
    let mut click = None;
    let visuals = ui.visuals();
    let fill = if is_selected { visuals.selection.bg_fill } else { egui::Color32::TRANSPARENT };
    let frame = egui::Frame::new().fill(fill).corner_radius(6).inner_margin(egui::Margin::symmetric(6, 4));
    frame.show(ui, |ui| {
        ui.spacing_mut().interact_size.y = 18.0;
        ui.spacing_mut().button_padding = egui::vec2(4.0, 1.0);
        ui.horizontal(|ui| {
            let color = theme::run_color(ui.visuals(), run.color);
            if visibility_toggle(ui, run.visible, color, &run.name).clicked() {
                run.visible = !run.visible;
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if !matches!(run.status, Status::Live(_)) || !run.status.is_under_way() {
                    let remove = ui.add(egui::Button::new(RichText::new("×").weak()).frame(false));
                    name_button(&remove, &format!("Remove {} from the list", run.name));
                    if remove.on_hover_text("Remove it from the list; its files stay").clicked() {
                        click = Some(RunListAction::Remove(at));
                    }
                }
                ui.with_layout(Layout::top_down(Align::Min), |ui| {
                    ui.spacing_mut().item_spacing.y = 0.0;
                    let name = RichText::new(&run.name).strong();
                    let label = ui.add(egui::Button::selectable(false, name).frame(false).truncate());
                    if label.on_hover_text(run.folder.display().to_string()).clicked() {
                        click = Some(RunListAction::Select(at));
                    }
                    let best = run.best.map_or_else(String::new, |(loss, _)| format!(" · best {loss:.3}"));
                    let method =
                        run.started.as_ref().map_or_else(String::new, |started| format!("{} · ", started.method));
                    ui.horizontal(|ui| {
                        ui.spacing_mut().item_spacing.x = 0.0;
                        ui.add_space(4.0);
                        ui.small(RichText::new(method).weak());
                        ui.small(RichText::new(run.status.label()).color(status_color(ui, &run.status)));
                        ui.small(RichText::new(best).weak());
                    });
                });
            });
        });
    });
    click
}

/// A dot that is filled when the curves of the run are shown.
fn visibility_toggle(ui: &mut Ui, shown: bool, color: egui::Color32, run: &str) -> egui::Response {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(18.0), Sense::click());
    if shown {
        ui.painter().circle_filled(rect.center(), 6.0, color);
    } else {
        ui.painter().circle_stroke(rect.center(), 5.0, egui::Stroke::new(1.5, color));
    }
    if response.has_focus() || response.hovered() {
        ui.painter().circle_stroke(rect.center(), 8.0, ui.visuals().widgets.hovered.fg_stroke);
    }
    response.widget_info(|| egui::WidgetInfo::selected(egui::Role::CheckBox, true, shown, format!("Show {run}")));
    response.on_hover_text(if shown { "Hide its curves" } else { "Show its curves" })
}
