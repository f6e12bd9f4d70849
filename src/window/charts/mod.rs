//! The charts: what they show, how one is drawn, how they stand together, and how they leave the window as files.

mod chart;
pub mod export;
pub mod metric;
mod panel;

pub use chart::{Wish, dot, name as name_button};
pub use panel::{ChartSettings, panel};
