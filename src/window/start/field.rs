//! One setting on the start page: its name, a widget for its values, and its error.

use eframe::egui::{self, Align, Button, ComboBox, Layout, RichText, Slider, TextEdit, Ui};

use super::form::Form;
use crate::{
    config::SettingInfo,
    window::{
        dialogs::{DialogKind, Dialogs, Purpose},
        options::Options,
        widgets::name_button,
    },
};

/// Settings that are paths, and the kind of dialog for them. A path may also be typed.
const PATHS: [(&str, DialogKind); 5] = [
    ("model", DialogKind::Folder),
    ("data", DialogKind::File),
    ("valid_data", DialogKind::File),
    ("out", DialogKind::Folder),
    ("init_adapter", DialogKind::Folder),
];

/// `learning_rate` as `Learning rate`.
pub fn title(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    first + letters.as_str()
}

/// Draws the setting as a row of a grid with two columns.
pub fn field(ui: &mut Ui, form: &mut Form, name: &str, options: &Options, dialogs: &Dialogs) {
    let Some(info) = form.settings.iter().find(|info| info.name == name).cloned() else { return };
    let faulty = form.fault(name).is_some();
    let mut text = RichText::new(title(name));
    if form.is_typed(name) {
        text = text.strong();
    }
    if faulty {
        text = text.color(ui.visuals().error_fg_color);
    }
    let label =
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| ui.label(text).on_hover_text(help(&info))).inner;
    ui.vertical(|ui| {
        ui.horizontal(|ui| {
            let before = form.text(name);
            let mut text = before.clone();
            let response = widget(ui, &info, name, &mut text, form, options, dialogs);
            response.labelled_by(label.id).on_hover_text(help(&info));
            if text != before {
                form.set(name, text);
            }
            if form.is_typed(name) {
                let reset = ui.add(Button::new(RichText::new("reset").small()).frame(false));
                name_button(&reset, &format!("Reset {}", title(name)));
                if reset.on_hover_text("Reset to the default").clicked() {
                    form.reset(name);
                }
            }
        });
        if let Some(fault) = form.fault(name) {
            ui.label(RichText::new(fault).small().color(ui.visuals().error_fg_color));
        }
    });
    ui.end_row();
}

fn help(info: &SettingInfo) -> String {
    format!("{}\n--{}", info.help, info.name.replace('_', "-"))
}

fn widget(
    ui: &mut Ui,
    info: &SettingInfo,
    name: &str,
    text: &mut String,
    form: &Form,
    options: &Options,
    dialogs: &Dialogs,
) -> egui::Response {
    let width = 230.0;
    if name == "device" {
        let mut choices = vec![("auto".to_owned(), "automatic: the best GPU, else the CPU".to_owned())];
        choices.extend(form.devices.iter().map(|device| (device.choice.clone(), device.name.clone())));
        return combo(ui, name, text, &choices, width);
    }
    let named = options.choices.iter().find(|(setting, _)| *setting == name).map(|(_, names)| names);
    let plain = |names: &[String]| names.iter().map(|name| (name.clone(), name.clone())).collect::<Vec<_>>();
    if let Some(names) = named {
        return combo(ui, name, text, &plain(names), width);
    }
    if info.default.is_boolean() {
        let mut on = text == "true";
        let response = ui.add(egui::Checkbox::without_text(&mut on));
        *text = on.to_string();
        return response;
    }
    if !info.values.is_empty() {
        return combo(ui, name, text, &plain(&info.values), width);
    }
    if let Some((_, kind)) = PATHS.iter().find(|(path, _)| *path == name) {
        let response =
            ui.add(TextEdit::singleline(text).desired_width((ui.available_width() - 150.0).clamp(120.0, 420.0)));
        // The output of a page is in its own storage.
        let browses = cfg!(not(target_arch = "wasm32")) || name != "out";
        if browses && ui.button("Browse…").clicked() {
            dialogs.open(ui.ctx(), *kind, &title(name), Purpose::Setting(name.to_owned()));
        }
        #[cfg(target_arch = "wasm32")]
        if *kind == DialogKind::File && ui.button("Paste").on_hover_text("Use the text on the clipboard").clicked() {
            dialogs.open(ui.ctx(), DialogKind::Clipboard, &title(name), Purpose::Setting(name.to_owned()));
        }
        return response;
    }
    if name == "sparsity" {
        return sparsity(ui, text);
    }
    let long = info.default.is_array() || info.default.is_string();
    ui.add(TextEdit::singleline(text).desired_width(if long { width } else { 110.0 }))
}

/// Sparsity as a slider over the trainable share, on a logarithmic scale: from 1 parameter in 10,000 to half of them.
fn sparsity(ui: &mut Ui, text: &mut String) -> egui::Response {
    let field = ui.add(TextEdit::singleline(text).desired_width(70.0));
    let mut trainable = text.trim().parse::<f64>().map_or(1.0, |sparsity| 100.0 * (1.0 - sparsity)).clamp(0.01, 50.0);
    let slider = Slider::new(&mut trainable, 0.01..=50.0).logarithmic(true).suffix(" % trainable").max_decimals(2);
    let moved = ui.add(slider);
    moved.widget_info(|| egui::WidgetInfo::slider(true, trainable, "Trainable share of the model, in percent"));
    if moved.changed() {
        // Two significant digits.
        let digits = (2.0 - trainable.log10().floor()).clamp(0.0, 6.0) as i32;
        let rounded = (trainable * 10f64.powi(digits)).round() / 10f64.powi(digits);
        *text = format!("{}", ((1.0 - rounded / 100.0) * 1e8).round() / 1e8);
    }
    field
}

fn combo(ui: &mut Ui, name: &str, text: &mut String, choices: &[(String, String)], width: f32) -> egui::Response {
    let shown = choices.iter().find(|(value, _)| value == text).map_or(text.as_str(), |(_, shown)| shown).to_owned();
    let combo = ComboBox::from_id_salt(name).width(width).selected_text(shown).truncate();
    combo
        .show_ui(ui, |ui| {
            for (value, shown) in choices {
                ui.selectable_value(text, value.clone(), shown);
            }
        })
        .response
}
