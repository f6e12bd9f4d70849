//! What a run emits: to whoever polls it, and to its record.

use super::{Phase, Run};
use crate::{Error, Result, event::Event, panics};

impl Run {
    /// Records an event and hands it out.
    pub(super) fn emit(&mut self, event: Event) -> Result<()> {
        let recorded = self.event_log.as_mut().map_or(Ok(()), |log| log.write(&event));
        self.events.push_back(event);
        recorded
    }

    /// Ends the run because of a failure, which goes into its record. Who catches a panic of the layers below says so
    /// here; other failures end it by themselves.
    pub fn fail(&mut self, message: &str) {
        if self.phase == Phase::Done {
            return;
        }
        self.phase = Phase::Done;
        if let Some(log) = &mut self.event_log {
            // The failure itself is returned in any case; perhaps it is a disk that is full.
            let _ = log.write(&Event::Failed { message: message.to_owned() });
        }
        self.lock = None;
    }

    pub(super) fn not_finite(&self, step: u64, what: &str, value: f64) -> Error {
        if step == 0 {
            return Error::Run(format!(
                "the {what} is {value} before the first step: the model's weights are damaged; copy or \
                 download the model again"
            ));
        }
        let last = match (self.saved, self.config.out.as_os_str().is_empty()) {
            (Some(saved), false) => {
                format!("the last good checkpoint is step {saved} in {}", self.config.out.join("checkpoints").display())
            }
            _ => "there is no checkpoint yet".into(),
        };
        let bound = if self.config.max_grad_norm > 0.0 { "a smaller --max-grad-norm" } else { "--max-grad-norm 1" };
        Error::Run(format!(
            "step {step}: the {what} is {value}; the run has stopped, {last}; try a lower --learning-rate (now {:e}), \
             more --warmup-steps or {bound}",
            self.schedule.peak
        ))
    }
}

impl Drop for Run {
    /// A panic of the layers below ends a run as much as an error does.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fail(&panics::sentence());
        }
    }
}
