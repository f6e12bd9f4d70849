//! Several runs in one table.

use eframe::egui::{self, Grid, RichText, ScrollArea, Ui};

use super::run_list::status_color;
use crate::{
    format::{bytes, count, percent, seconds},
    window::{data::run::RunView, theme, widgets::dot},
};

/// A column of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Column {
    /// Name of the run.
    Name,
    /// Method.
    Method,
    /// Trainable parameters.
    #[serde(rename = "Trained")]
    Trainable,
    /// Last training loss.
    Loss,
    /// Lowest validation loss.
    #[default]
    Best,
    /// Steps done.
    Step,
    /// Time trained.
    Time,
    /// Tokens a second.
    Speed,
    /// Peak memory.
    Memory,
}

/// Titles, and whether the smallest value of the column is the best one.
const COLUMNS: [(Column, &str, bool); 9] = [
    (Column::Name, "Run", false),
    (Column::Method, "Method", false),
    (Column::Trainable, "Trainable", false),
    (Column::Loss, "Loss", true),
    (Column::Best, "Best validation", true),
    (Column::Step, "Step", false),
    (Column::Time, "Time", true),
    (Column::Speed, "Tokens/s", false),
    (Column::Memory, "Most memory held", true),
];

/// The number behind a cell, for sorting.
fn number(run: &RunView, column: Column) -> f64 {
    let latest = run.latest.as_ref();
    match column {
        Column::Name | Column::Method => f64::NAN,
        Column::Trainable => run.started.as_ref().map_or(f64::NAN, |started| started.trained_parameters as f64),
        Column::Loss => {
            run.steps.smoothed.line().values().iter().copied().rfind(|loss| loss.is_finite()).unwrap_or(f64::NAN)
        }
        Column::Best => run.best.map_or(f64::NAN, |(loss, _)| loss),
        Column::Step => run.step() as f64,
        Column::Time => latest.map_or(f64::NAN, |metrics| metrics.elapsed_secs),
        Column::Speed => latest.map_or(f64::NAN, |metrics| metrics.tokens_per_sec),
        Column::Memory => {
            if run.peak_bytes > 0 {
                run.peak_bytes as f64
            } else {
                f64::NAN
            }
        }
    }
}

fn cell(run: &RunView, column: Column) -> String {
    let value = number(run, column);
    match column {
        Column::Name => run.name.clone(),
        Column::Method => run.started.as_ref().map_or_else(|| "—".into(), |started| started.method.clone()),
        _ if !value.is_finite() => "—".into(),
        Column::Trainable => format!("{} ({})", count(value as usize), percent(run.trainable_share().unwrap_or(0.0))),
        Column::Loss | Column::Best => format!("{value:.4}"),
        Column::Step => count(value as usize),
        Column::Time => seconds(value),
        Column::Speed => count(value.max(0.0) as usize),
        Column::Memory => bytes(value as u64),
    }
}

/// The order of the rows; unknown values come last.
fn order(runs: &[RunView], column: Column) -> Vec<usize> {
    let mut order: Vec<usize> = (0..runs.len()).collect();
    let text = |at: usize| cell(&runs[at], column);
    match column {
        Column::Name | Column::Method => order.sort_by_key(|&at| text(at)),
        _ => order.sort_by(|&a, &b| {
            let (a, b) = (number(&runs[a], column), number(&runs[b], column));
            let descends = matches!(column, Column::Trainable | Column::Step | Column::Speed);
            a.is_nan().cmp(&b.is_nan()).then(if descends { b.total_cmp(&a) } else { a.total_cmp(&b) })
        }),
    }
    order
}

/// Draws the table; returns the index of the run that was clicked.
pub fn table(ui: &mut Ui, runs: &mut [RunView], sorted_by: &mut Column) -> Option<usize> {
    let mut chosen = None;
    let best: Vec<Option<f64>> = COLUMNS
        .iter()
        .map(|(column, _, small)| {
            let known = || runs.iter().map(|run| number(run, *column)).filter(|value| value.is_finite());
            let (least, most) = (known().min_by(f64::total_cmp)?, known().max_by(f64::total_cmp)?);
            // Where all are equal none is the best.
            (*small && least < most).then_some(least)
        })
        .collect();
    ScrollArea::horizontal().id_salt("compare").show(ui, |ui| {
        Grid::new("compare").num_columns(COLUMNS.len() + 2).striped(true).spacing([18.0, 6.0]).show(ui, |ui| {
            ui.label("");
            for (column, title, _) in COLUMNS {
                let header = egui::Button::selectable(*sorted_by == column, RichText::new(title).strong());
                if ui.add(header).on_hover_text("Sort by this column").clicked() {
                    *sorted_by = column;
                }
            }
            ui.strong("State");
            ui.end_row();
            for at in order(runs, *sorted_by) {
                let run = &mut runs[at];
                ui.horizontal(|ui| {
                    let label = format!("Show the curves of {}", run.name);
                    let check = ui.add(egui::Checkbox::without_text(&mut run.visible));
                    check.widget_info(|| egui::WidgetInfo::selected(egui::Role::CheckBox, true, run.visible, &label));
                    dot(ui, theme::run_color(ui.visuals(), run.color));
                });
                for ((column, _, _), best) in COLUMNS.iter().zip(&best) {
                    let text = cell(run, *column);
                    if *column == Column::Name {
                        if ui.link(text).on_hover_text(run.folder.display().to_string()).clicked() {
                            chosen = Some(at);
                        }
                    } else if best.is_some_and(|best| best == number(run, *column)) {
                        ui.label(RichText::new(text).strong().color(theme::good(ui.visuals())));
                    } else {
                        ui.label(text);
                    }
                }
                ui.label(RichText::new(run.status.label()).color(status_color(ui, &run.status)));
                ui.end_row();
            }
        });
    });
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Metrics};

    #[test]
    fn unknown_values_come_last() {
        let run = |name: &str, loss: Option<f64>| {
            let mut run = RunView::new(name.into(), 0);
            if let Some(loss) = loss {
                let metrics = Metrics { step: 5, eval_loss: Some(loss), ..Metrics::default() };
                run.apply(&Event::Evaluated { metrics, perplexity: 1.0, best: true });
            }
            run
        };
        let runs = [run("b", None), run("c", Some(2.0)), run("a", Some(1.0))];
        assert_eq!(order(&runs, Column::Best), [2, 1, 0]);
        assert_eq!(order(&runs, Column::Name), [2, 0, 1]);
        assert_eq!(cell(&runs[0], Column::Best), "—");
    }
}
