//! The live window: a front end that knows settings and events and nothing of tensors. It asks the desk behind it for
//! everything that takes time, and never waits.

mod app;
mod charts;
mod data;
mod dialogs;
mod link;
#[cfg(not(target_arch = "wasm32"))]
mod open;
mod pace;
mod panels;
#[cfg(not(target_arch = "wasm32"))]
pub mod probe;
mod remember;
mod start;
mod theme;
mod workbench;

pub use app::{App, Closing, Options, STORAGE_KEY, runs_in};
pub use data::run::{RunView, Status};
#[cfg(target_arch = "wasm32")]
pub use dialogs::{Host, Kind, serve};
pub use link::{Link, Wake, wake};
#[cfg(not(target_arch = "wasm32"))]
pub use open::open;
pub use pace::Pace;
pub use remember::Remembered;
