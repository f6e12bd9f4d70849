//! The bar above the charts: the state of the selected run, and buttons for it.

use eframe::egui::{Align, Button, Key, Layout, ProgressBar, RichText, TextEdit, Ui};

use super::run_list::status_color;
use crate::{
    event::{Command, Ending, messages::RunState},
    format::seconds,
    window::data::run::{RunView, Status},
};

/// An action on the selected run.
#[derive(Clone, Debug, PartialEq)]
pub enum RunAction {
    /// Pause it.
    Pause,
    /// Resume a paused run.
    Resume,
    /// Send it a command.
    Send(Command),
    /// Resume a run that was stopped or killed from its last checkpoint.
    ResumeFromCheckpoint,
    /// Start a new run with its settings.
    CopySettings,
    /// Use its adapter.
    Use,
}

/// Draws the bar. `text` is that in the field of the learning rate; `busy`: whether this window already trains a run.
pub fn controls(ui: &mut Ui, run: &RunView, text: &mut String, busy: bool) -> Option<RunAction> {
    let mut action = None;
    ui.horizontal(|ui| {
        ui.heading(&run.name);
        ui.label(RichText::new(run.status.label()).strong().color(status_color(ui, &run.status)));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            action = buttons(ui, run, text, busy);
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
                "This run was interrupted: its record has no end, and no process trains it. Resume it from its last checkpoint.",
            );
        }
        _ => {}
    }
    action
}

fn buttons(ui: &mut Ui, run: &RunView, text: &mut String, busy: bool) -> Option<RunAction> {
    let mut action = None;
    let mut offer = |ui: &mut Ui, text: &str, hover: &str, enabled: bool, offered: RunAction| {
        if ui.add_enabled(enabled, Button::new(text)).on_hover_text(hover).on_disabled_hover_text(hover).clicked() {
            action = Some(offered);
        }
    };
    let use_hover = "Generate with and without the adapter, merge, export";
    // From right to left.
    match &run.status {
        Status::AdapterOnly => offer(ui, "Use it", use_hover, true, RunAction::Use),
        Status::Live(state @ (RunState::Running | RunState::Paused)) => {
            let hover = "Finish the step, save, and stop (Ctrl+.)";
            offer(ui, "Stop and save", hover, true, RunAction::Send(Command::Stop));
            offer(ui, "Save now", "Write a checkpoint (Ctrl+S)", true, RunAction::Send(Command::Save));
            if *state == RunState::Paused {
                offer(ui, "Resume", "Resume training (space)", true, RunAction::Resume);
            } else {
                offer(ui, "Pause", "Pause after this step (space)", true, RunAction::Pause);
            }
            action = action.or(learning_rate(ui, run, text));
        }
        Status::OtherProcess => {
            let hover = "Ask the process that trains it to stop";
            offer(ui, "Stop and save", hover, true, RunAction::Send(Command::Stop));
            let hover = "Ask the process that trains it for a checkpoint";
            offer(ui, "Save now", hover, true, RunAction::Send(Command::Save));
            action = action.or(learning_rate(ui, run, text));
        }
        Status::Live(RunState::Preparing { .. } | RunState::Idle) | Status::Opening => {}
        _ => {
            offer(ui, "Use it", use_hover, run.step() > 0, RunAction::Use);
            offer(ui, "New like this", "The start page with the settings of this run", true, RunAction::CopySettings);
            if matches!(run.status, Status::Over(Ending::Stopped) | Status::Interrupted | Status::Failed(_)) {
                let hover = if busy {
                    "This window already trains a run; stop it first"
                } else {
                    "Resume from the last checkpoint"
                };
                offer(ui, "Resume", hover, !busy && run.step() > 0, RunAction::ResumeFromCheckpoint);
            }
        }
    }
    action
}

fn learning_rate(ui: &mut Ui, run: &RunView, text: &mut String) -> Option<RunAction> {
    let peak = run.started.as_ref().map_or(0.0, |started| started.learning_rate);
    let given = text.trim().parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate >= 0.0);
    let set = ui.add_enabled(given.is_some(), Button::new("Set"));
    let field = ui.add(TextEdit::singleline(text).desired_width(64.0).hint_text(format!("{peak:.0e}")));
    let label = ui.label("Learning rate");
    let field = field.labelled_by(label.id).on_hover_text("Peak learning rate of the schedule from the next step on");
    let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    let rate = given.filter(|_| entered || set.clicked())?;
    text.clear();
    Some(RunAction::Send(Command::SetLearningRate(rate)))
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
