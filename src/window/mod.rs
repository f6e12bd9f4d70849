//! The live window: a front end that knows settings and events and nothing of tensors. It asks the desk behind it for
//! everything that takes time, and never waits.

mod app;
mod charts;
mod data;
mod dialogs;
mod link;
mod open;
mod pace;
mod panels;
pub mod probe;
mod remember;
mod start;
mod theme;
mod workbench;

pub use app::{App, Closing, Options, runs_in};
pub use data::run::{RunView, Status};
pub use link::{Link, Wake};
pub use open::open;
pub use pace::Pace;
pub use remember::Remembered;
