//! All charts, and the controls that they share.

use eframe::egui::{ScrollArea, Slider, Ui};

use super::{
    chart::{ChartExport, chart},
    metric::Metric,
    settings::ChartSettings,
};
use crate::window::data::{columns::XAxis, run::RunView};

/// Minimum height of the loss chart and of the others, in points.
const MIN_HEIGHTS: (f32, f32) = (220.0, 150.0);

/// Draws the controls and all charts into the space there is; scrolls where it is too small.
pub fn panel(ui: &mut Ui, runs: &mut [RunView], settings: &mut ChartSettings) -> Option<ChartExport> {
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
    let height = ui.available_height() - gap * rows;
    let below = ((height * 0.54) / rows).max(MIN_HEIGHTS.1);
    let above = (height - below * rows).max(MIN_HEIGHTS.0);
    let mut export = None;
    ScrollArea::vertical().id_salt("charts").auto_shrink(false).show(ui, |ui| {
        export = export.or(chart(ui, Metric::Loss, runs, settings, above));
        for metrics in small.chunks(columns) {
            ui.columns(columns, |columns| {
                for (ui, metric) in columns.iter_mut().zip(metrics) {
                    export = export.or(chart(ui, *metric, runs, settings, below));
                }
            });
        }
    });
    settings.reset_zoom = false;
    export
}

fn controls(ui: &mut Ui, settings: &mut ChartSettings) {
    ui.horizontal_wrapped(|ui| {
        ui.label("X axis");
        for axis in XAxis::ALL {
            ui.selectable_value(&mut settings.axis, axis, axis.label());
        }
        ui.separator();
        let label = ui.label("Smoothing");
        ui.add(Slider::new(&mut settings.smoothing, 0.0..=0.99).fixed_decimals(2))
            .labelled_by(label.id)
            .on_hover_text("Weight of the past in the smoothed loss (exponential moving average, as in TensorBoard)");
        ui.separator();
        ui.checkbox(&mut settings.clip, "Clip outliers").on_hover_text("Draw outliers at the edge instead of widening the axis");
        ui.separator();
        let hover = "Show all data (or double-click a chart). In a chart: drag to pan, scroll to zoom, drag with the right button \
                     to zoom into a box";
        if ui.button("Reset zoom").on_hover_text(hover).clicked() {
            settings.reset_zoom = true;
        }
    });
}
