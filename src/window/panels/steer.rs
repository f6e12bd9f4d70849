//! The bar above the charts: what the chosen run is doing, and what can be done about it.

use eframe::egui::{Align, Button, Layout, ProgressBar, RichText, Ui};

use super::runs::status_color;
use crate::{
    event::{Command, Ending, messages::RunState},
    format::seconds,
    window::data::run::{RunView, Status},
};

/// What a person does with the chosen run.
#[derive(Clone, Debug, PartialEq)]
pub enum Steering {
    /// Halt it.
    Pause,
    /// Let a halted run go on.
    Resume,
    /// Tell it something.
    Tell(Command),
    /// Take up a run that was stopped or killed.
    GoOn,
    /// Start one like it.
    Again,
    /// Talk with what came of it.
    Use,
}

/// Draws the bar. `rate` is the text in the field of the learning rate; `busy` says that this window trains already.
pub fn steer(ui: &mut Ui, run: &RunView, rate: &mut String, busy: bool) -> Option<Steering> {
    let mut steering = None;
    ui.horizontal(|ui| {
        ui.heading(&run.name);
        ui.label(RichText::new(run.status.label()).strong().color(status_color(ui, &run.status)));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            steering = buttons(ui, run, rate, busy);
        });
    });
    progress(ui, run);
    match &run.status {
        Status::Failed(message) => {
            ui.horizontal_wrapped(|ui| {
                ui.colored_label(ui.visuals().error_fg_color, message);
                if ui.small_button("Copy").clicked() {
                    ui.ctx().copy_text(message.clone());
                }
            });
        }
        Status::Interrupted => {
            ui.colored_label(
                ui.visuals().warn_fg_color,
                "No process is at this run, and it never said that it was over. It can go on from its last checkpoint.",
            );
        }
        _ => {}
    }
    steering
}

fn buttons(ui: &mut Ui, run: &RunView, rate: &mut String, busy: bool) -> Option<Steering> {
    let mut steering = None;
    let mut offer = |ui: &mut Ui, text: &str, hover: &str, enabled: bool, what: Steering| {
        if ui.add_enabled(enabled, Button::new(text)).on_hover_text(hover).on_disabled_hover_text(hover).clicked() {
            steering = Some(what);
        }
    };
    // From the right.
    match &run.status {
        Status::Alone => {
            offer(ui, "Use it", "Generate with and without the adapter, merge, export", true, Steering::Use);
        }
        Status::Live(state @ (RunState::Running | RunState::Paused)) => {
            offer(
                ui,
                "Stop and save",
                "Finish the step, save, and leave (Ctrl+.)",
                true,
                Steering::Tell(Command::Stop),
            );
            offer(ui, "Save now", "Write a checkpoint (Ctrl+S)", true, Steering::Tell(Command::Save));
            if *state == RunState::Paused {
                offer(ui, "Resume", "Go on (space)", true, Steering::Resume);
            } else {
                offer(ui, "Pause", "Halt after this step (space)", true, Steering::Pause);
            }
            steering = steering.or(learning_rate(ui, run, rate));
        }
        Status::Elsewhere => {
            offer(ui, "Stop and save", "Ask the process that trains it to stop", true, Steering::Tell(Command::Stop));
            offer(
                ui,
                "Save now",
                "Ask the process that trains it for a checkpoint",
                true,
                Steering::Tell(Command::Save),
            );
            steering = steering.or(learning_rate(ui, run, rate));
        }
        Status::Live(RunState::Preparing { .. } | RunState::Idle) | Status::Opening => {}
        _ => {
            offer(ui, "Use it", "Generate with and without the adapter, merge, export", run.step() > 0, Steering::Use);
            offer(ui, "New like this", "The start page with the settings of this run", true, Steering::Again);
            if matches!(run.status, Status::Over(Ending::Stopped) | Status::Interrupted | Status::Failed(_)) {
                let hover = if busy {
                    "A run is under way in this window; stop it first"
                } else {
                    "Take it up where its last checkpoint is"
                };
                offer(ui, "Go on", hover, !busy && run.step() > 0, Steering::GoOn);
            }
        }
    }
    steering
}

fn learning_rate(ui: &mut Ui, run: &RunView, text: &mut String) -> Option<Steering> {
    let peak = run.started.as_ref().map_or(0.0, |started| started.learning_rate);
    let given = text.trim().parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate >= 0.0);
    let mut steering = None;
    let set = ui.add_enabled(given.is_some(), Button::new("Set"));
    let field = ui.add(eframe::egui::TextEdit::singleline(text).desired_width(64.0).hint_text(format!("{peak:.0e}")));
    let label = ui.label("Learning rate");
    let field = field.labelled_by(label.id).on_hover_text("Peak of the schedule from the next step on");
    let entered = field.lost_focus() && ui.input(|input| input.key_pressed(eframe::egui::Key::Enter));
    if let Some(rate) = given.filter(|_| entered || set.clicked()) {
        steering = Some(Steering::Tell(Command::SetLearningRate(rate)));
        text.clear();
    }
    steering
}

fn progress(ui: &mut Ui, run: &RunView) {
    let Some(started) = &run.started else {
        if let Status::Live(RunState::Preparing { what }) = &run.status {
            ui.horizontal(|ui| {
                ui.spinner();
                ui.label(what);
            });
        }
        return;
    };
    let step = run.step();
    let share = if started.steps == 0 { 1.0 } else { step as f32 / started.steps as f32 };
    let left = match &run.latest {
        Some(metrics) if run.status.is_under_way() => format!(", {} left", seconds(metrics.remaining_secs)),
        _ => String::new(),
    };
    let text = format!("step {step} of {}{left}", started.steps);
    ui.add(ProgressBar::new(share).desired_height(16.0).corner_radius(4).text(RichText::new(text).small()));
}
