//! The charts: what they show, how one is drawn, how they are laid out, and how they are exported as files.

mod chart;
pub mod export;
pub mod metric;
mod panel;
mod settings;

pub use chart::ChartExport;
pub use panel::panel;
pub use settings::ChartSettings;
