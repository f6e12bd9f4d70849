//! The most important metrics of the selected run, large.

use eframe::egui::{self, RichText, Ui};

use crate::{
    format::{bytes, count, percent, seconds},
    window::{data::run::RunView, theme},
};

/// Minimum width of a card, in points.
const MIN_WIDTH: f32 = 100.0;

/// Draws a card for each metric.
pub fn key_metrics(ui: &mut Ui, run: &RunView) {
    let latest = run.latest.as_ref();
    let dash = || "—".to_owned();
    let loss =
        run.steps.loss.values().iter().rfind(|loss| loss.is_finite()).map_or_else(dash, |loss| format!("{loss:.3}"));
    let steps = run.started.as_ref().map_or(0, |started| started.steps);
    let mut cards = vec![
        (
            "Step",
            format!("{} / {}", count(run.step() as usize), if steps > 0 { count(steps as usize) } else { dash() }),
        ),
        ("Loss", loss),
        ("Best validation", run.best.map_or_else(dash, |(loss, _)| format!("{loss:.3}"))),
        ("Tokens/s", latest.map_or_else(dash, |metrics| count(metrics.tokens_per_sec.max(0.0) as usize))),
        ("Memory held", latest.map_or_else(dash, |metrics| bytes(metrics.memory_reserved_bytes))),
        ("Trainable", run.trainable_share().map_or_else(dash, percent)),
    ];
    cards.push(match latest {
        Some(metrics) if run.status.is_under_way() => ("Time left", seconds(metrics.remaining_secs)),
        Some(metrics) => ("Time", seconds(metrics.elapsed_secs)),
        None => ("Time left", dash()),
    });
    if let Some(accuracy) = run.evaluations.accuracy.values().iter().rfind(|value| value.is_finite()) {
        cards.insert(3, ("Accuracy", percent(*accuracy)));
    }
    // The first ones are the most important; the others are in the details too.
    let columns = (ui.available_width() / MIN_WIDTH).max(1.0) as usize;
    cards.truncate(columns);
    ui.columns(cards.len(), |columns| {
        for (ui, (name, value)) in columns.iter_mut().zip(cards) {
            let mut frame = theme::card(ui.visuals());
            frame.inner_margin = egui::Margin::symmetric(8, 5);
            frame.show(ui, |ui| {
                ui.set_width(ui.available_width());
                ui.spacing_mut().item_spacing.y = 0.0;
                ui.add(egui::Label::new(RichText::new(name).small().weak()).truncate());
                ui.add(egui::Label::new(RichText::new(value).size(16.0).strong()).truncate());
            });
        }
    });
}
