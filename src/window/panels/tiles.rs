//! The figures of the chosen run that a person looks for first, large.

use eframe::egui::{self, RichText, Ui};

use crate::{
    format::{bytes, count, percent, seconds},
    window::{data::run::RunView, theme},
};

/// Least width of a figure, in points.
const LEAST_WIDTH: f32 = 100.0;

/// Draws the row of figures.
pub fn tiles(ui: &mut Ui, run: &RunView) {
    let latest = run.latest.as_ref();
    let dash = || "—".to_owned();
    let loss =
        run.steps.loss.values().iter().rfind(|loss| loss.is_finite()).map_or_else(dash, |loss| format!("{loss:.3}"));
    let steps = run.started.as_ref().map_or(0, |started| started.steps);
    let mut figures = vec![
        (
            "Step",
            format!("{} / {}", count(run.step() as usize), if steps > 0 { count(steps as usize) } else { dash() }),
        ),
        ("Loss", loss),
        ("Best validation", run.best.map_or_else(dash, |(loss, _)| format!("{loss:.3}"))),
        ("Tokens/s", latest.map_or_else(dash, |metrics| count(metrics.tokens_per_sec.max(0.0) as usize))),
        ("Memory held", latest.map_or_else(dash, |metrics| bytes(metrics.memory_reserved_bytes))),
        ("Trained", run.trained_share().map_or_else(dash, percent)),
    ];
    figures.push(match latest {
        Some(metrics) if run.status.is_under_way() => ("Time left", seconds(metrics.remaining_secs)),
        Some(metrics) => ("Time", seconds(metrics.elapsed_secs)),
        None => ("Time left", dash()),
    });
    if let Some(accuracy) = run.evaluations.accuracy.values().iter().rfind(|value| value.is_finite()) {
        figures.insert(3, ("Accuracy", percent(*accuracy)));
    }
    // The first ones count most; the others are among the facts too.
    let room = (ui.available_width() / LEAST_WIDTH).max(1.0) as usize;
    figures.truncate(room);
    ui.columns(figures.len(), |columns| {
        for (ui, (name, value)) in columns.iter_mut().zip(figures) {
            let mut card = theme::card(ui.visuals());
            card.inner_margin = egui::Margin::symmetric(8, 5);
            card.show(ui, |ui| {
                ui.set_width(ui.available_width());
                ui.spacing_mut().item_spacing.y = 0.0;
                ui.add(egui::Label::new(RichText::new(name).small().weak()).truncate());
                ui.add(egui::Label::new(RichText::new(value).size(16.0).strong()).truncate());
            });
        }
    });
}
