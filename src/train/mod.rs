//! Training: objective, schedule, one optimizer step, evaluation, checkpoints, and the run that strings them together.

mod calibrate;
pub mod checkpoint;
pub mod classification;
pub mod command_file;
pub mod estimate;
pub mod evaluate;
pub mod event_log;
pub mod folder;
pub mod inputs;
pub mod lock;
pub mod metrics;
pub mod objective;
pub mod purpose;
pub mod results;
pub mod run;
pub mod schedule;
mod settle;
mod start;
pub mod step;

pub use inputs::Inputs;
pub use run::Run;
