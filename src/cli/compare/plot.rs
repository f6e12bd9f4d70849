//! The curves of a comparison as SVG: training loss, smoothed, and validation loss, one colour a method.

use std::path::Path;

use plotters::prelude::*;

use super::outcome::Outcome;
use crate::{Error, Result, event::Metrics, train::metrics};

const SIZE: (u32, u32) = (900, 520);
/// Okabe and Ito's colours, told apart with every kind of colour vision.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

/// One method's curves, averaged over its seeds.
struct Curves {
    label: String,
    train: Vec<(f64, f64)>,
    valid: Vec<(f64, f64)>,
}

/// The picture of the runs below `out`.
///
/// # Errors
/// A run's metrics cannot be read.
pub(super) fn svg(out: &Path, outcomes: &[Outcome]) -> Result<String> {
    let mut curves: Vec<Curves> = Vec::new();
    for outcome in outcomes {
        if curves.iter().any(|known| known.label.starts_with(&format!("{} (", outcome.method))) {
            continue;
        }
        let seeds: Vec<&Outcome> = outcomes.iter().filter(|other| other.method == outcome.method).collect();
        let mut runs = Vec::new();
        for run in &seeds {
            runs.push(metrics::read(&out.join(format!("{}-{}", run.method, run.seed)).join("metrics.jsonl"))?);
        }
        let series = |figure: fn(&Metrics) -> Option<f64>| {
            let points = |run: &Vec<Metrics>| -> Vec<(f64, f64)> {
                run.iter().filter_map(|m| figure(m).map(|value| (m.step as f64, value))).collect()
            };
            mean(&runs.iter().map(points).collect::<Vec<_>>())
        };
        curves.push(Curves {
            label: format!("{} ({} trained)", outcome.method, crate::cli::format::count(outcome.trained_parameters)),
            train: smoothed(series(|m| m.loss)),
            valid: series(|m| m.eval_loss),
        });
    }
    draw(&curves).map_err(|e| Error::Run(format!("the picture of the comparison cannot be drawn: {e}")))
}

/// Point by point mean of series that have the same steps; as long as the shortest.
fn mean(series: &[Vec<(f64, f64)>]) -> Vec<(f64, f64)> {
    let length = series.iter().map(Vec::len).min().unwrap_or(0);
    let at = |index: usize| series.iter().map(|points| points[index].1).sum::<f64>() / series.len() as f64;
    (0..length).map(|index| (series[0][index].0, at(index))).collect()
}

/// An exponential moving average over about a twentieth of the run, as TensorBoard draws it (bias corrected).
fn smoothed(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let keep = 1.0 - 1.0 / (points.len() as f64 / 20.0).max(1.0);
    let (mut average, mut weight) = (0.0, 0.0);
    let smooth = |(step, value): (f64, f64)| {
        average = keep * average + (1.0 - keep) * value;
        weight = keep * weight + (1.0 - keep);
        (step, average / weight)
    };
    points.into_iter().map(smooth).collect()
}

fn draw(curves: &[Curves]) -> Result<String, Box<dyn std::error::Error>> {
    let mut text = String::new();
    let all = || curves.iter().flat_map(|curves| curves.train.iter().chain(&curves.valid));
    let bound = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (_, last) = bound(&mut all().map(|point| point.0));
    let (low, high) = bound(&mut all().map(|point| point.1));
    let margin = (0.05 * (high - low)).max(1e-3);
    let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..last.max(1.0), low - margin..high + margin)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .x_desc("optimizer step")
        .y_desc("loss (nats)")
        .label_style(("sans-serif", 15))
        .x_label_formatter(&|step| format!("{step:.0}"))
        .draw()?;
    for (curves, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let (colour, style) = (*colour, colour.stroke_width(2));
        chart
            .draw_series(LineSeries::new(curves.train.iter().copied(), style))?
            .label(format!("{}, training", curves.label))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
        if curves.valid.is_empty() {
            continue;
        }
        chart
            .draw_series(DashedLineSeries::new(curves.valid.iter().copied(), 7, 4, style))?
            .label(format!("{}, validation", curves.label))
            .legend(move |(x, y)| {
                let dash = |from: i32| PathElement::new([(x + from, y), (x + from + 9, y)], style);
                EmptyElement::at((0, 0)) + dash(0) + dash(15)
            });
        chart.draw_series(curves.valid.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .label_font(("sans-serif", 14))
        .draw()?;
    root.present()?;
    drop((chart, root));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_averaged_and_smoothed_without_a_lag_at_the_start() {
        let series = [vec![(1.0, 2.0), (2.0, 4.0), (3.0, 9.0)], vec![(1.0, 4.0), (2.0, 0.0)]];
        assert_eq!(mean(&series), [(1.0, 3.0), (2.0, 2.0)]);
        let smooth = smoothed((0..100).map(|step| (f64::from(step), 5.0)).collect());
        assert!(smooth.iter().all(|point| (point.1 - 5.0).abs() < 1e-9));
    }

    #[test]
    fn every_method_is_in_the_picture() {
        let curves = ["sparta (10 trained)", "lora (9 trained)"].map(|label| Curves {
            label: label.into(),
            train: vec![(1.0, 3.0), (2.0, 2.0)],
            valid: vec![(0.0, 3.5), (2.0, 2.5)],
        });
        let text = draw(&curves).expect("a picture");
        assert!(text.starts_with("<svg") && text.contains("sparta (10 trained), training"), "{text}");
        assert!(text.contains("lora (9 trained), validation"));
    }
}
