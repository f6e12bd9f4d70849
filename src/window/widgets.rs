//! Small widgets that several panels share.

use eframe::egui::{self, Color32, Grid, Label, RichText, Ui, Vec2};

/// A dot in the colour of a run.
pub fn dot(ui: &mut Ui, color: Color32) {
    let (rect, _) = ui.allocate_exact_size(Vec2::splat(10.0), egui::Sense::hover());
    ui.painter().circle_filled(rect.center(), 4.5, color);
}

/// Gives a button without words a name for screen readers.
pub fn name_button(response: &egui::Response, name: &str) {
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, name));
}

/// A table of names and values, one pair a row.
pub fn name_value_table(ui: &mut Ui, id: impl egui::AsIdSalt, rows: Vec<(&str, String)>) {
    Grid::new(id).num_columns(2).spacing([12.0, 3.0]).min_row_height(0.0).show(ui, |ui| {
        ui.spacing_mut().interact_size.y = 0.0;
        for (name, value) in rows {
            ui.label(RichText::new(name).weak());
            ui.add(Label::new(value).wrap());
            ui.end_row();
        }
    });
}
