//! The live window: a front end that knows settings and events and nothing of tensors. It sends requests to the workers
//! behind it for everything that takes time, and never waits.

mod adapter_page;
mod app;
#[cfg(not(target_arch = "wasm32"))]
pub mod benchmark;
mod charts;
mod data;
mod dialogs;
mod link;
#[cfg(not(target_arch = "wasm32"))]
mod open;
mod options;
mod panels;
mod repaint_interval;
mod run_folders;
mod saved_state;
mod start;
mod theme;
mod widgets;

pub use app::App;
pub use data::run::{RunView, Status};
#[cfg(target_arch = "wasm32")]
pub use dialogs::{DialogKind, PageDialogs, set_page_dialogs};
pub use link::{Link, Wake, wake};
#[cfg(not(target_arch = "wasm32"))]
pub use open::open;
pub use options::{Closing, Options};
pub use repaint_interval::RepaintInterval;
pub use run_folders::runs_in;
pub use saved_state::SavedState;
