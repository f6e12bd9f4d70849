//! Exponential smoothing as TensorBoard does it, updated as values are added.

use super::series::Series;

/// The smoothed form of a series.
#[derive(Clone, Debug, Default)]
pub struct Smoothed {
    weight: f64,
    /// `sum of (1 - weight) * weight^(age) * value`, not yet divided by the weights' sum.
    mean: f64,
    /// Number of finite values in it.
    count: i32,
    line: Series,
}

impl Smoothed {
    /// The series smoothed with `weight` (0 is none, towards 1 is more), recomputed only as far as something changed.
    ///
    /// `y_t = (w y'_(t-1) + (1 - w) x_t) / (1 - w^t)`: the exponential moving average with its bias towards 0 taken out
    /// (Kingma & Ba 2015, section 3; TensorBoard's scalar chart). Values that are not finite are skipped.
    pub fn of(&mut self, values: &[f64], weight: f64) -> &Series {
        if weight != self.weight || values.len() < self.line.values().len() {
            *self = Self { weight, ..Self::default() };
        }
        for &value in &values[self.line.values().len()..] {
            if value.is_finite() {
                self.mean = weight * self.mean + (1.0 - weight) * value;
                self.count = self.count.saturating_add(1);
                self.line.push(self.mean / (1.0 - weight.powi(self.count)));
            } else {
                self.line.push(f64::NAN);
            }
        }
        &self.line
    }

    /// The smoothed series.
    pub fn line(&self) -> &Series {
        &self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_stays_itself_from_the_first_value_on() {
        let mut smoothed = Smoothed::default();
        let line = smoothed.of(&[3.0; 50], 0.95);
        assert!(line.values().iter().all(|value| (value - 3.0).abs() < 1e-12));
    }

    #[test]
    fn it_is_updated_as_if_computed_at_once_and_starts_over_with_another_weight() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i % 13)).chain([f64::NAN, 4.0]).collect();
        let mut whole = Smoothed::default();
        let whole = whole.of(&values, 0.8).values().to_vec();
        let mut piecewise = Smoothed::default();
        piecewise.of(&values[..7], 0.3);
        for end in [7, 8, 100, values.len()] {
            piecewise.of(&values[..end], 0.8);
        }
        let same = |(a, b): (&f64, &f64)| a == b || a.is_nan() && b.is_nan();
        assert!(whole.iter().zip(piecewise.of(&values, 0.8).values()).all(same));
        assert_eq!(piecewise.of(&values, 0.0).values()[5], values[5]);
        assert_eq!(piecewise.of(&values[..3], 0.0).values().len(), 3, "a run that was started again");
    }
}
