//! How often the window draws while a run trains: as often as the screen does where drawing is cheap, and seldom enough
//! to leave the machine to the training where it is not (software rendering on a few cores).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Share of the machine that drawing the news of a run may take.
const SHARE: f64 = 0.02;
/// Time between two drawings: a frame of the screen at least, and news twice a second at worst.
const BOUNDS: (f64, f64) = (1.0 / 60.0, 0.5);

/// The time to wait before the next drawing, shared with the threads that bring news.
#[derive(Clone, Debug)]
pub struct Pace {
    micros: Arc<AtomicU64>,
    /// Whether the adapter that draws is the CPU itself.
    is_software: bool,
    cores: f64,
}

impl Pace {
    /// A pace for an adapter; `is_software` if it draws on the CPU.
    pub fn new(is_software: bool) -> Self {
        let cores = cores() as f64;
        let pace = Self { micros: Arc::default(), is_software, cores };
        pace.measured(0.0);
        pace
    }

    /// Takes in what the last frame cost the window's thread, in seconds.
    pub fn measured(&self, frame_secs: f64) {
        // A software adapter rasterises on all cores after the window's thread has gone on.
        let cost = if self.is_software { 4.0 * frame_secs * self.cores } else { frame_secs };
        let wait = (cost / (SHARE * self.cores)).clamp(BOUNDS.0, BOUNDS.1);
        self.micros.store((wait * 1e6) as u64, Ordering::Relaxed);
    }

    /// How long news may wait.
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
    fn cheap_frames_come_as_often_as_the_screen_and_dear_ones_seldom() {
        let wait = |is_software, cores, secs| {
            let pace = Pace { cores, ..Pace::new(is_software) };
            pace.measured(secs);
            pace.wait().as_secs_f64()
        };
        assert!((wait(false, 16.0, 0.003) - 1.0 / 60.0).abs() < 1e-5);
        assert!((wait(false, 2.0, 0.004) - 0.1).abs() < 1e-5, "4 ms on two cores: ten times a second");
        assert_eq!(wait(true, 2.0, 0.02), 0.5);
    }
}
