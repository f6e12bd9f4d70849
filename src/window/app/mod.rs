//! The application: it receives replies of the workers, holds the runs, and draws the pages.

mod files;
mod frame;
mod method_comparison;
mod notice;
mod overlays;
mod replies;
mod run_actions;
mod shortcuts;
mod state;
mod top_bar;

pub use state::App;
