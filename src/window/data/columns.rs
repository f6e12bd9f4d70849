//! The metrics of a run as columns: horizontal positions by row, and one series a metric.

use super::{series::Series, smooth::Smoothed};
use crate::event::Metrics;

/// Largest value that is kept as a position or drawn: beyond it neighbours cannot be told apart on an axis.
pub const LARGEST: f64 = 1e14;

/// What the horizontal axis counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum XAxis {
    /// Optimizer steps.
    #[default]
    Step,
    /// Tokens trained on.
    Tokens,
    /// Time trained.
    Time,
}

impl XAxis {
    /// All of them, in the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::Step, Self::Tokens, Self::Time];

    /// Its name in the window.
    pub fn label(self) -> &'static str {
        match self {
            Self::Step => "Step",
            Self::Tokens => "Tokens",
            Self::Time => "Time",
        }
    }
}

/// The horizontal positions of the rows, in each of the three units. All three only grow.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    steps: Vec<f64>,
    tokens: Vec<f64>,
    secs: Vec<f64>,
}

impl Positions {
    /// Whether this step comes after that of the last row.
    fn accepts(&self, step: u64) -> bool {
        step as f64 <= LARGEST && self.steps.last().is_none_or(|&last| step as f64 > last)
    }

    fn push(&mut self, metrics: &Metrics) {
        self.steps.push(metrics.step as f64);
        // A damaged record may have values out of order; positions that decrease cannot be searched.
        for (positions, position) in [(&mut self.tokens, metrics.tokens as f64), (&mut self.secs, metrics.elapsed_secs)]
        {
            let last = positions.last().copied().unwrap_or(0.0);
            positions.push(if position.is_finite() { position.clamp(last, LARGEST.max(last)) } else { last });
        }
    }

    /// The first row after `step`.
    fn after(&self, step: u64) -> usize {
        self.steps.partition_point(|&at| at <= step as f64)
    }

    fn truncate(&mut self, rows: usize) {
        [&mut self.steps, &mut self.tokens, &mut self.secs].into_iter().for_each(|positions| positions.truncate(rows));
    }

    /// The positions in one unit.
    pub fn by(&self, axis: XAxis) -> &[f64] {
        match axis {
            XAxis::Step => &self.steps,
            XAxis::Tokens => &self.tokens,
            XAxis::Time => &self.secs,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The rows from `low` to `high`, and one on either side so that lines extend beyond the visible part.
    pub fn range(&self, axis: XAxis, low: f64, high: f64) -> (usize, usize) {
        let positions = self.by(axis);
        let from = positions.partition_point(|&x| x < low).saturating_sub(1);
        let to = (positions.partition_point(|&x| x <= high) + 1).min(positions.len());
        (from.min(to), to)
    }

    /// The row nearest to `x`.
    pub fn nearest(&self, axis: XAxis, x: f64) -> Option<usize> {
        let positions = self.by(axis);
        let right = positions.partition_point(|&position| position < x).min(positions.len().checked_sub(1)?);
        let left = right.saturating_sub(1);
        Some(if (positions[left] - x).abs() < (positions[right] - x).abs() { left } else { right })
    }
}

/// The metrics of every step.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// The horizontal positions of the rows.
    pub positions: Positions,
    /// Training loss, in nats.
    pub loss: Series,
    /// The same, smoothed.
    pub smoothed: Smoothed,
    /// Learning rate.
    pub learning_rate: Series,
    /// Global gradient norm before clipping.
    pub grad_norm: Series,
    /// Tokens a second.
    pub speed: Series,
    /// Memory in use, in bytes.
    pub in_use: Series,
    /// Memory reserved, in bytes.
    pub reserved: Series,
    /// Rows whose loss or gradient norm is not finite.
    pub not_finite: Vec<usize>,
}

impl Steps {
    /// Adds a row. Rows whose step does not come after the last (damaged or repeated lines of a record) are left out.
    pub fn push(&mut self, metrics: &Metrics) {
        if !self.positions.accepts(metrics.step) {
            return;
        }
        let missing = f64::NAN;
        let (loss, norm) = (metrics.loss.unwrap_or(missing), metrics.grad_norm.unwrap_or(missing));
        // A value that is not in the record is missing; one that is there and not finite is a fault to show.
        if metrics.loss.is_some_and(|loss| !loss.is_finite()) || metrics.grad_norm.is_some_and(|norm| !norm.is_finite())
        {
            self.not_finite.push(self.positions.len());
        }
        self.positions.push(metrics);
        self.loss.push(loss);
        self.learning_rate.push(metrics.learning_rate.unwrap_or(missing));
        self.grad_norm.push(norm);
        self.speed.push(metrics.tokens_per_sec);
        self.in_use.push(metrics.memory_in_use_bytes as f64);
        self.reserved.push(metrics.memory_reserved_bytes as f64);
    }

    /// Drops the rows after `step`.
    pub fn keep_until(&mut self, step: u64) {
        let rows = self.positions.after(step);
        if rows == self.positions.len() {
            return;
        }
        self.positions.truncate(rows);
        self.not_finite.retain(|&row| row < rows);
        let Self { loss, learning_rate, grad_norm, speed, in_use, reserved, .. } = self;
        for series in [loss, learning_rate, grad_norm, speed, in_use, reserved] {
            series.truncate(rows);
        }
        // Smoothing starts over: its mean includes rows that were dropped.
        self.smoothed = Smoothed::default();
    }
}

/// The metrics of every evaluation.
#[derive(Clone, Debug, Default)]
pub struct Evaluations {
    /// The horizontal positions of the rows.
    pub positions: Positions,
    /// Validation loss, in nats.
    pub loss: Series,
    /// Share of the validation rows whose class was predicted correctly; NaN where there are no classes.
    pub accuracy: Series,
}

impl Evaluations {
    /// Drops the rows after `step`.
    pub fn keep_until(&mut self, step: u64) {
        let rows = self.positions.after(step);
        if rows < self.positions.len() {
            self.positions.truncate(rows);
            self.loss.truncate(rows);
            self.accuracy.truncate(rows);
        }
    }

    /// Adds a row; one whose step does not come after the last is left out.
    pub fn push(&mut self, metrics: &Metrics) {
        if !self.positions.accepts(metrics.step) {
            return;
        }
        self.positions.push(metrics);
        self.loss.push(metrics.eval_loss.unwrap_or(f64::NAN));
        self.accuracy.push(metrics.eval_accuracy.unwrap_or(f64::NAN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64, loss: f64) -> Metrics {
        Metrics { step, loss: Some(loss), tokens: 10 * step, elapsed_secs: step as f64 / 2.0, ..Metrics::default() }
    }

    #[test]
    fn rows_are_found_in_any_unit() {
        let mut steps = Steps::default();
        (1..=100).for_each(|step| steps.push(&row(step, 1.0)));
        assert_eq!(steps.positions.range(XAxis::Step, 10.0, 20.0), (8, 21));
        assert_eq!(steps.positions.range(XAxis::Tokens, -1e9, 1e9), (0, 100));
        assert_eq!(steps.positions.nearest(XAxis::Time, 25.1), Some(49));
        assert_eq!(steps.positions.nearest(XAxis::Step, 1e9), Some(99));
        assert_eq!(Steps::default().positions.nearest(XAxis::Step, 1.0), None);
    }

    #[test]
    fn damaged_rows_leave_the_columns_in_order() {
        let mut steps = Steps::default();
        for metrics in [
            row(1, 2.0),
            row(2, f64::NAN),
            row(2, 9.0),
            row(1, 9.0),
            Metrics { tokens: 3, elapsed_secs: f64::NAN, ..row(5, 1.0) },
        ] {
            steps.push(&metrics);
        }
        assert_eq!(steps.positions.by(XAxis::Step), [1.0, 2.0, 5.0]);
        assert_eq!(steps.not_finite, [1]);
        for axis in XAxis::ALL {
            assert!(steps.positions.by(axis).is_sorted(), "{axis:?}");
        }
    }
}
