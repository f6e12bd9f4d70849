//! How often the window repaints while a run trains: at the rate of the screen where drawing is cheap, and less often
//! where it is not (software rendering on a few cores), to leave the processor to the training.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Share of the processor that repainting may take.
const SHARE: f64 = 0.02;
/// Seconds between two repaints: from one frame of the screen to twice a second.
const BOUNDS: (f64, f64) = (1.0 / 60.0, 0.5);

/// The time to wait before the next repaint, shared with the threads that send replies.
#[derive(Clone, Debug)]
pub struct RepaintInterval {
    micros: Arc<AtomicU64>,
    /// Whether the adapter that draws is the CPU itself.
    is_software: bool,
    cores: f64,
}

impl RepaintInterval {
    /// The interval for an adapter; `is_software` if it draws on the CPU.
    pub fn new(is_software: bool) -> Self {
        let cores = cores() as f64;
        let interval = Self { micros: Arc::default(), is_software, cores };
        interval.measured(0.0);
        interval
    }

    /// Adapts the interval to the seconds that the last frame took on the window's thread.
    pub fn measured(&self, frame_secs: f64) {
        // A software adapter rasterises on all cores after the window's thread is done.
        let cost = if self.is_software { 4.0 * frame_secs * self.cores } else { frame_secs };
        let wait = (cost / (SHARE * self.cores)).clamp(BOUNDS.0, BOUNDS.1);
        self.micros.store((wait * 1e6) as u64, Ordering::Relaxed);
    }

    /// The time to wait before the next repaint.
    pub fn wait(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cheap_frames_repaint_at_the_rate_of_the_screen_and_expensive_ones_less_often() {
        let wait = |is_software, cores, secs| {
            let interval = RepaintInterval { cores, ..RepaintInterval::new(is_software) };
            interval.measured(secs);
            interval.wait().as_secs_f64()
        };
        assert!((wait(false, 16.0, 0.003) - 1.0 / 60.0).abs() < 1e-5);
        assert!((wait(false, 2.0, 0.004) - 0.1).abs() < 1e-5, "4 ms on two cores: ten times a second");
        assert_eq!(wait(true, 2.0, 0.02), 0.5);
    }
}
