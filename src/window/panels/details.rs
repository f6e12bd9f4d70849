//! Details of a run: device, model, method, progress, and its trainable parameters by tensor.

use eframe::egui::Ui;

use super::heatmap;
use crate::{
    format::{bytes, count, percent, seconds},
    window::{
        data::run::{RunView, Status},
        widgets::name_value_table,
    },
};

/// Draws the details of a run.
pub fn details(ui: &mut Ui, run: &RunView) {
    if let Status::Failed(message) = &run.status {
        ui.colored_label(ui.visuals().error_fg_color, message);
        ui.add_space(6.0);
    }
    let Some(started) = &run.started else {
        ui.weak(match run.status {
            Status::AdapterOnly => "An adapter without the record of its run. It can be used.",
            _ => "This run has not started yet.",
        });
        return;
    };
    let mut lines: Vec<(&str, String)> = Vec::new();
    let (device, reason) = started.device.split_once(": ").unwrap_or((&started.device, ""));
    lines.push(("Device", device.to_owned()));
    if !reason.is_empty() {
        lines.push(("Chosen as", reason.to_owned()));
    }
    lines.push(("Model", started.model.clone()));
    lines.push(("Parameters", count(started.total_parameters)));
    lines.push(("Method", started.method.clone()));
    let share = run.trainable_share().unwrap_or(0.0);
    lines.push(("Trainable", format!("{} ({})", count(started.trained_parameters), percent(share))));
    lines.push(("Tensors", count(started.trained.len())));
    lines.push(("Step", format!("{} of {}", count(run.step() as usize), count(started.steps as usize))));
    if started.batches_per_epoch > 0 && started.steps > 0 {
        let epochs = run.step() as f64 / started.batches_per_epoch as f64;
        lines.push(("Epoch", format!("{epochs:.2} ({} batches each)", count(started.batches_per_epoch as usize))));
    }
    if let Some(metrics) = &run.latest {
        lines.push(("Tokens", count(metrics.tokens as usize)));
        lines.push(("Time trained", seconds(metrics.elapsed_secs)));
        if run.status.is_under_way() {
            lines.push(("Time left", seconds(metrics.remaining_secs)));
        }
        lines.push((
            "Memory",
            format!("{} in use, {} held", bytes(metrics.memory_in_use_bytes), bytes(metrics.memory_reserved_bytes)),
        ));
        lines.push(("Most memory held", bytes(run.peak_bytes)));
    }
    if let Some((loss, step)) = run.best {
        lines.push(("Best validation", format!("{loss:.4} at step {step}")));
    }
    if !run.folder.as_os_str().is_empty() {
        lines.push(("Folder", run.folder.display().to_string()));
    }
    name_value_table(ui, "details", lines);
    ui.add_space(10.0);
    ui.strong("Trainable parameters");
    heatmap::heatmap(ui, &started.trained);
}
