//! The time that a run trains. It stands still between steps: while a run is paused, evaluates or writes a checkpoint.

use web_time::Instant;

/// Seconds trained, over all sessions of a run.
#[derive(Debug)]
pub(super) struct Stopwatch {
    before: f64,
    since: Option<Instant>,
}

impl Stopwatch {
    /// One that stands at `seconds`.
    pub(super) fn at(seconds: f64) -> Self {
        Self { before: seconds, since: None }
    }

    /// Lets it run.
    pub(super) fn start(&mut self) {
        self.stop();
        self.since = Some(Instant::now());
    }

    /// Lets it stand still.
    pub(super) fn stop(&mut self) {
        self.before = self.seconds();
        self.since = None;
    }

    /// What it shows.
    pub(super) fn seconds(&self) -> f64 {
        self.before + self.since.map_or(0.0, |since| since.elapsed().as_secs_f64())
    }
}

/// How fast a run has been since its last report.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Tokens a second, padding not counted.
    pub tokens_per_sec: f64,
    /// Seconds a step.
    pub secs_per_step: f64,
}

impl Pace {
    /// Of `steps` steps with `tokens` tokens in `seconds` seconds.
    pub(super) fn of(steps: usize, tokens: u64, seconds: f64) -> Self {
        // A clock may be too coarse for a step.
        let seconds = seconds.max(1e-9);
        Self { tokens_per_sec: tokens as f64 / seconds, secs_per_step: seconds / steps.max(1) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_lies_between_start_and_stop_counts() {
        let mut watch = Stopwatch::at(100.0);
        assert_eq!(watch.seconds(), 100.0);
        watch.start();
        std::thread::sleep(Duration::from_millis(5));
        let running = watch.seconds();
        assert!(running >= 100.005, "{running}");
        watch.stop();
        let stopped = watch.seconds();
        std::thread::sleep(Duration::from_millis(5));
        assert!(stopped >= running && watch.seconds() == stopped);
        watch.start();
        watch.start();
        assert!(watch.seconds() >= stopped);
    }

    #[test]
    fn the_pace_is_that_of_the_steps_given() {
        let pace = Pace::of(4, 2000, 0.5);
        assert_eq!((pace.tokens_per_sec, pace.secs_per_step), (4000.0, 0.125));
        assert!(Pace::of(1, 5, 0.0).tokens_per_sec.is_finite());
    }
}
