//! The bar at the top: pages, help and theme.

use eframe::egui::{self, Key, KeyboardShortcut, Modifiers, RichText, Ui};

use super::state::{App, Page};
use crate::window::theme;

/// The pages in their order, with their titles.
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

impl App {
    pub(super) fn top_bar(&mut self, ui: &mut Ui) {
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
                if ui.button("Shortcuts").on_hover_text("Keyboard shortcuts (F1)").clicked() {
                    self.shows_help = !self.shows_help;
                }
                let mut theme = ui.ctx().options(|options| options.theme_preference);
                for (value, title) in THEMES.iter().rev() {
                    ui.selectable_value(&mut theme, *value, *title);
                }
                ui.ctx().set_theme(theme);
            });
        });
    }
}
