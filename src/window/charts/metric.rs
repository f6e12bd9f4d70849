//! The metrics of the charts: their lines and units.

use crate::{
    format,
    window::data::{columns::Positions, run::RunView, series::Series},
};

/// One chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Metric {
    /// Training and validation loss.
    Loss,
    /// Share of the validation rows whose class was predicted correctly.
    Accuracy,
    /// Learning rate.
    LearningRate,
    /// Gradient norm before clipping.
    GradNorm,
    /// Tokens a second.
    Speed,
    /// Memory in use and reserved.
    Memory,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceStyle {
    /// Thin and pale: the raw values behind a smoothed line.
    Faint,
    /// The main line.
    Primary,
    /// A few points, joined by a thin line.
    Points,
    /// A second line beside the main one.
    Secondary,
}

/// One line of a chart.
pub struct Trace<'a> {
    /// Its name within its run.
    pub name: &'static str,
    /// The horizontal positions of its values.
    pub positions: &'a Positions,
    /// Its values.
    pub series: &'a Series,
    /// How it is drawn.
    pub style: TraceStyle,
}

impl Metric {
    /// The charts below the loss.
    pub const SMALL: [Self; 4] = [Self::LearningRate, Self::GradNorm, Self::Speed, Self::Memory];

    /// Title of the chart.
    pub fn title(self) -> &'static str {
        match self {
            Self::Loss => "Loss",
            Self::Accuracy => "Validation accuracy",
            Self::LearningRate => "Learning rate",
            Self::GradNorm => "Gradient norm",
            Self::Speed => "Tokens per second",
            Self::Memory => "Memory",
        }
    }

    /// Name of exported files, without extension.
    pub fn file_stem(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Accuracy => "accuracy",
            Self::LearningRate => "learning-rate",
            Self::GradNorm => "gradient-norm",
            Self::Speed => "tokens-per-second",
            Self::Memory => "memory",
        }
    }

    /// A value with its unit.
    pub fn value(self, value: f64) -> String {
        match self {
            Self::Loss => format!("{value:.4}"),
            Self::Accuracy => format::percent(value),
            Self::LearningRate => format!("{value:.2e}"),
            Self::GradNorm => format!("{value:.3}"),
            Self::Speed => format::count(value.max(0.0) as usize),
            Self::Memory => format::bytes(value.max(0.0) as u64),
        }
    }

    /// The label of a value on an axis whose marks are `spacing` apart.
    pub fn tick(self, value: f64, spacing: f64) -> String {
        let decimals = (-spacing.log10().floor()).clamp(0.0, 6.0) as usize;
        match self {
            Self::Loss | Self::GradNorm if value != 0.0 && value.abs() < 1e-3 => format!("{value:.0e}"),
            Self::Loss | Self::GradNorm => format!("{value:.decimals$}"),
            Self::Accuracy => format!("{:.*} %", decimals.saturating_sub(2), 100.0 * value),
            Self::LearningRate if value == 0.0 => "0".into(),
            Self::LearningRate => format!("{value:.1e}"),
            Self::Speed => short(value),
            Self::Memory => format::bytes(value.max(0.0) as u64),
        }
    }

    /// The lines of one run, those behind first. `smoothed`: whether the raw loss is drawn faintly behind the smoothed one.
    pub fn traces(self, run: &RunView, smoothed: bool) -> Vec<Trace<'_>> {
        let (steps, evaluations) = (&run.steps, &run.evaluations);
        let step = |name, series, style| Trace { name, positions: &steps.positions, series, style };
        let evaluation =
            |name, series| Trace { name, positions: &evaluations.positions, series, style: TraceStyle::Points };
        match self {
            Self::Loss if smoothed => vec![
                step("training, raw", &steps.loss, TraceStyle::Faint),
                step("training, smoothed", steps.smoothed.line(), TraceStyle::Primary),
                evaluation("validation", &evaluations.loss),
            ],
            Self::Loss => {
                vec![step("training", &steps.loss, TraceStyle::Primary), evaluation("validation", &evaluations.loss)]
            }
            Self::Accuracy => vec![evaluation("validation accuracy", &evaluations.accuracy)],
            Self::LearningRate => vec![step("learning rate", &steps.learning_rate, TraceStyle::Primary)],
            Self::GradNorm => vec![step("gradient norm", &steps.grad_norm, TraceStyle::Primary)],
            Self::Speed => vec![step("tokens per second", &steps.speed, TraceStyle::Primary)],
            Self::Memory => {
                vec![
                    step("in use", &steps.in_use, TraceStyle::Primary),
                    step("reserved", &steps.reserved, TraceStyle::Secondary),
                ]
            }
        }
    }
}

/// `1234567` as `1.23M`.
pub fn short(value: f64) -> String {
    let size = value.abs();
    let scaled = |unit: f64, name: &str| {
        let text = format!("{:.2}", value / unit);
        format!("{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match size {
        _ if size >= 1e9 => scaled(1e9, "G"),
        _ if size >= 1e6 => scaled(1e6, "M"),
        _ if size >= 1e4 => scaled(1e3, "k"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_labels_are_short() {
        assert_eq!([short(950.0), short(12_500.0), short(1_000_000.0)], ["950", "12.5k", "1M"]);
        assert_eq!([Metric::Loss.tick(2.5, 0.5), Metric::Loss.tick(2.0, 1.0)], ["2.5", "2"]);
        assert_eq!(Metric::Accuracy.tick(0.875, 0.01), "88 %");
        assert_eq!(Metric::Memory.value(1_500_000.0), "1.5 MB");
    }
}
