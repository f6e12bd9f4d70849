//! What the model generates for the same prompts, before and during training.

use eframe::egui::{self, Frame, Label, Margin, RichText, Ui};

use crate::window::{data::run::RunView, theme};

/// Draws the prompts with their first and last samples, and those between in a section that opens.
pub fn samples(ui: &mut Ui, run: &RunView) {
    if run.samples.is_empty() {
        ui.weak("No samples. Give prompts under \"Sample prompts\" when you start a run: the model continues them at every evaluation.");
        return;
    }
    for (at, answers) in run.samples.iter().enumerate() {
        ui.add(Label::new(RichText::new(answers.prompt.trim()).strong()).wrap());
        let Some(((first_step, first), rest)) = answers.texts.split_first() else { continue };
        let before = if *first_step == 0 { "before".to_owned() } else { format!("step {first_step}") };
        answer(ui, &before, first, None);
        if let Some(((last_step, last), between)) = rest.split_last() {
            if !between.is_empty() {
                egui::CollapsingHeader::new(RichText::new(format!("{} in between", between.len())).small())
                    .id_salt(("between", at))
                    .show(ui, |ui| {
                        for (step, text) in between {
                            answer(ui, &format!("step {step}"), text, None);
                        }
                    });
            }
            answer(ui, &format!("step {last_step}"), last, Some(theme::good(ui.visuals())));
        }
        ui.add_space(10.0);
    }
}

fn answer(ui: &mut Ui, when: &str, text: &str, mark: Option<egui::Color32>) {
    let stroke = egui::Stroke::new(1.0, mark.unwrap_or(ui.visuals().widgets.noninteractive.bg_stroke.color));
    let frame = Frame::new()
        .fill(ui.visuals().faint_bg_color)
        .stroke(stroke)
        .corner_radius(6)
        .inner_margin(Margin::symmetric(8, 5));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.small(RichText::new(when).weak());
        let text = text.trim();
        ui.add(Label::new(if text.is_empty() { "(nothing)" } else { text }).wrap());
    });
}
