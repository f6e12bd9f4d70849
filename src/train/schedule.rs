//! The learning rate of each step.

use crate::config::{RunConfig, Schedule};

/// Learning rate over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    /// Learning rate after the warm-up.
    pub peak: f64,
    /// Learning rate at the end.
    pub minimum: f64,
    /// Steps of the warm-up.
    pub warmup: u64,
    /// Steps of the run.
    pub steps: u64,
    /// Shape after the warm-up.
    pub shape: Schedule,
}

impl LearningRate {
    /// The schedule of a resolved configuration with `steps` steps.
    pub fn new(config: &RunConfig, steps: u64) -> Self {
        Self {
            peak: config.learning_rate,
            minimum: config.min_learning_rate,
            warmup: config.warmup_steps,
            steps,
            shape: config.schedule,
        }
    }

    /// Learning rate of step `step`, counted from 0: `peak * (step + 1) / warmup` while warming up, then the shape from peak to
    /// minimum over the remaining steps.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let span = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let progress = ((step - self.warmup) as f64 / span).min(1.0);
        let remaining = match self.shape {
            Schedule::Constant => return self.peak,
            Schedule::Linear => 1.0 - progress,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        };
        self.minimum + (self.peak - self.minimum) * remaining
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_then_falls_to_the_minimum() {
        let rate = LearningRate { peak: 1.0, minimum: 0.1, warmup: 4, steps: 20, shape: Schedule::Cosine };
        assert_eq!([rate.at(0), rate.at(3), rate.at(4)], [0.25, 1.0, 1.0]);
        assert!((rate.at(12) - 0.55).abs() < 1e-12 && (rate.at(20) - 0.1).abs() < 1e-12);
        let linear = LearningRate { shape: Schedule::Linear, ..rate };
        assert!((linear.at(12) - 0.55).abs() < 1e-12);
        assert_eq!(LearningRate { shape: Schedule::Constant, ..rate }.at(15), 1.0);
    }
}
