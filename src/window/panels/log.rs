//! The log of a run.

use eframe::egui::{Label, RichText, Ui};

use crate::window::data::run::RunView;

/// Most lines that are drawn: the last ones.
const SHOWN: usize = 500;

/// Draws the log.
pub fn log(ui: &mut Ui, run: &RunView) {
    if run.log.is_empty() {
        ui.weak("The log is empty.");
    }
    let hidden = run.log.len().saturating_sub(SHOWN);
    if hidden > 0 {
        ui.weak(format!("{hidden} earlier lines"));
    }
    for line in &run.log[hidden..] {
        let mut text = RichText::new(format!("{:>6}  {}", line.step, line.text)).monospace();
        if line.is_fault {
            text = text.color(ui.visuals().error_fg_color);
        }
        ui.add(Label::new(text).wrap());
    }
}
