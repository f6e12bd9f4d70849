//! The table of a comparison: one line a method, mean and standard deviation over its seeds.

use serde::Serialize;

use super::outcome::{Figures, Outcome};
use crate::cli::format::{bytes, count};

/// Mean and standard deviation (of the sample) of one figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub mean: f64,
    pub deviation: f64,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Line {
    pub method: String,
    pub seeds: usize,
    pub learning_rate: f64,
    pub trained_parameters: usize,
    pub trained_in_body: usize,
    pub train_loss: Spread,
    pub valid_loss: Option<Spread>,
    pub valid_accuracy: Option<Spread>,
    pub test_loss: Option<Spread>,
    pub test_accuracy: Option<Spread>,
    pub test_macro_f1: Option<Spread>,
    pub test_matthews: Option<Spread>,
    pub secs_per_step: Spread,
    pub peak_memory_bytes: u64,
    pub adapter_bytes: u64,
}

fn spread(values: &[f64]) -> Spread {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Spread { mean, deviation: (squares / (count - 1.0).max(1.0)).sqrt() }
}

/// One line for each method, in the order of the runs.
pub(super) fn summarise(outcomes: &[Outcome]) -> Vec<Line> {
    let mut methods: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if !methods.contains(&outcome.method.as_str()) {
            methods.push(&outcome.method);
        }
    }
    let line = |method: &&str| {
        let runs: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.method == **method).collect();
        let over = |figure: &dyn Fn(&Outcome) -> Option<f64>| {
            let values: Vec<f64> = runs.iter().filter_map(|run| figure(run)).collect();
            (!values.is_empty()).then(|| spread(&values))
        };
        let always = |figure: fn(&Outcome) -> f64| spread(&runs.iter().map(|run| figure(run)).collect::<Vec<f64>>());
        let classified = |figures: &Option<Figures>,
                          figure: fn(&crate::train::classification::Classification) -> f64| {
            figures.as_ref().and_then(|figures| figures.classification.as_ref()).map(figure)
        };
        Line {
            method: (*method).to_owned(),
            seeds: runs.len(),
            learning_rate: runs[0].learning_rate,
            trained_parameters: runs[0].trained_parameters,
            trained_in_body: runs[0].trained_in_body,
            train_loss: always(|run| run.train_loss),
            valid_loss: over(&|run| run.valid.as_ref().map(|figures| figures.loss)),
            valid_accuracy: over(&|run| classified(&run.valid, |figures| figures.accuracy)),
            test_loss: over(&|run| run.test.as_ref().map(|figures| figures.loss)),
            test_accuracy: over(&|run| classified(&run.test, |figures| figures.accuracy)),
            test_macro_f1: over(&|run| classified(&run.test, |figures| figures.macro_f1)),
            test_matthews: over(&|run| classified(&run.test, |figures| figures.matthews)),
            secs_per_step: always(|run| run.secs_per_step),
            peak_memory_bytes: runs.iter().map(|run| run.peak_memory_bytes).max().unwrap_or(0),
            adapter_bytes: runs[0].adapter_bytes,
        }
    };
    methods.iter().map(line).collect()
}

/// The table as Markdown, readable in a terminal as it is.
pub(super) fn markdown(lines: &[Line]) -> String {
    let plain = |spread: &Spread, digits: usize, seeds: usize| match seeds {
        1 => format!("{:.digits$}", spread.mean),
        _ => format!("{:.digits$} ± {:.digits$}", spread.mean, spread.deviation),
    };
    let share = |spread: &Spread, seeds| {
        let hundredfold = Spread { mean: 100.0 * spread.mean, deviation: 100.0 * spread.deviation };
        format!("{} %", plain(&hundredfold, 1, seeds))
    };
    type Column<'a> = (&'a str, Box<dyn Fn(&Line) -> Option<String> + 'a>);
    let columns: Vec<Column> = vec![
        ("method", Box::new(|line| Some(line.method.clone()))),
        ("trained", Box::new(|line| Some(count(line.trained_parameters)))),
        ("learning rate", Box::new(|line| Some(format!("{:e}", line.learning_rate)))),
        ("test accuracy", Box::new(|line| line.test_accuracy.as_ref().map(|s| share(s, line.seeds)))),
        ("test macro F1", Box::new(|line| line.test_macro_f1.as_ref().map(|s| share(s, line.seeds)))),
        ("valid accuracy", Box::new(|line| line.valid_accuracy.as_ref().map(|s| share(s, line.seeds)))),
        ("valid loss", Box::new(|line| line.valid_loss.as_ref().map(|s| plain(s, 3, line.seeds)))),
        ("train loss", Box::new(|line| Some(plain(&line.train_loss, 3, line.seeds)))),
        ("s/step", Box::new(|line| Some(plain(&line.secs_per_step, 3, 1)))),
        ("most memory held", Box::new(|line| Some(bytes(line.peak_memory_bytes)))),
        ("adapter", Box::new(|line| Some(bytes(line.adapter_bytes)))),
    ];
    let mut cells: Vec<Vec<String>> = vec![Vec::new(); lines.len() + 1];
    for (title, cell) in &columns {
        // A column that no method has a figure for is left out.
        if lines.iter().all(|line| cell(line).is_none()) {
            continue;
        }
        cells[0].push((*title).to_owned());
        for (row, line) in cells[1..].iter_mut().zip(lines) {
            row.push(cell(line).unwrap_or_else(|| "-".into()));
        }
    }
    let widths: Vec<usize> = (0..cells[0].len())
        .map(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let row = |cells: &Vec<String>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!(" {cell}{} ", " ".repeat(width - cell.chars().count())));
        format!("|{}|", padded.collect::<Vec<_>>().join("|"))
    };
    let rule = widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("|");
    let mut text = vec![row(&cells[0]), format!("|{rule}|")];
    text.extend(cells[1..].iter().map(row));
    text.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_a_sample() {
        let Spread { mean, deviation } = spread(&[1.0, 2.0, 3.0]);
        assert!((mean - 2.0).abs() < 1e-12 && (deviation - 1.0).abs() < 1e-12);
        assert_eq!(spread(&[5.0]).deviation, 0.0);
    }
}
