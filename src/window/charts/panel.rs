//! All charts together, and the controls that they share.

use std::collections::BTreeSet;

use eframe::egui::{ScrollArea, Slider, Ui};
use serde::{Deserialize, Serialize};

use super::{
    chart::{Wish, chart},
    metric::Metric,
};
use crate::window::data::{columns::XAxis, run::RunView};

/// How the charts are drawn; remembered from one start of the window to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChartSettings {
    /// What the horizontal axis counts.
    pub axis: XAxis,
    /// Weight of the past in the smoothed loss, from 0 (none) to below 1.
    pub smoothing: f64,
    /// Whether outliers are drawn at the edge instead of widening the axis.
    pub clip: bool,
    /// Charts with a logarithmic axis.
    pub log: BTreeSet<Metric>,
    /// Whether every zoom is to be forgotten in this frame.
    #[serde(skip)]
    pub fit: bool,
}

impl Default for ChartSettings {
    fn default() -> Self {
        Self { axis: XAxis::Step, smoothing: 0.8, clip: true, log: BTreeSet::new(), fit: false }
    }
}

/// Least height of the loss chart and of the others, in points.
const LEAST: (f32, f32) = (220.0, 150.0);

/// Draws the controls and all charts into what room there is; scrolls where it is too little.
pub fn panel(ui: &mut Ui, runs: &mut [RunView], settings: &mut ChartSettings) -> Option<Wish> {
    controls(ui, settings);
    for run in runs.iter_mut().filter(|run| run.visible) {
        run.steps.smoothed.of(run.steps.loss.values(), settings.smoothing);
    }
    let mut small = Metric::SMALL.to_vec();
    if runs.iter().any(|run| run.visible && run.classifies()) {
        small.insert(0, Metric::Accuracy);
    }
    let columns = if ui.available_width() > 620.0 { 2 } else { 1 };
    let rows = small.len().div_ceil(columns) as f32;
    let gap = ui.spacing().item_spacing.y;
    let room = ui.available_height() - gap * rows;
    let below = ((room * 0.54) / rows).max(LEAST.1);
    let above = (room - below * rows).max(LEAST.0);
    let mut wish = None;
    ScrollArea::vertical().id_salt("charts").auto_shrink(false).show(ui, |ui| {
        wish = wish.or(chart(ui, Metric::Loss, runs, settings, above));
        for metrics in small.chunks(columns) {
            ui.columns(columns, |columns| {
                for (ui, metric) in columns.iter_mut().zip(metrics) {
                    wish = wish.or(chart(ui, *metric, runs, settings, below));
                }
            });
        }
    });
    settings.fit = false;
    wish
}

fn controls(ui: &mut Ui, settings: &mut ChartSettings) {
    ui.horizontal_wrapped(|ui| {
        ui.label("Across");
        for axis in XAxis::ALL {
            ui.selectable_value(&mut settings.axis, axis, axis.label());
        }
        ui.separator();
        let label = ui.label("Smoothing");
        ui.add(Slider::new(&mut settings.smoothing, 0.0..=0.99).fixed_decimals(2))
            .labelled_by(label.id)
            .on_hover_text("Weight of the past in the smoothed loss (exponential moving average, as in TensorBoard)");
        ui.separator();
        ui.checkbox(&mut settings.clip, "Clip outliers").on_hover_text("Draw what lies far outside at the edge");
        ui.separator();
        let hover = "Show everything again (double-click a chart does the same). In a chart: drag to pan, turn the wheel to zoom, \
                     drag with the right button for a box";
        if ui.button("Fit").on_hover_text(hover).clicked() {
            settings.fit = true;
        }
    });
}
