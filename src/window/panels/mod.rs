//! The panels around the charts: the list of runs, controls and key metrics of the selected one, its details, samples,
//! data and log, and the comparison of several.

pub mod compare;
mod data;
mod details;
mod heatmap;
pub mod key_metrics;
mod log;
pub mod run_controls;
pub mod run_list;
mod samples;

use eframe::egui::{ScrollArea, Ui};

use super::data::run::RunView;

/// A page of the panel on the right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Side {
    /// Device, model, method, progress, and the trainable parameters.
    #[default]
    #[serde(rename = "Facts")]
    Details,
    /// What the model generates for the same prompts over time.
    Samples,
    /// How the data was understood.
    Data,
    /// What happened.
    Log,
}

impl Side {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Details, "Details"), (Self::Samples, "Samples"), (Self::Data, "Data"), (Self::Log, "Log")];
}

/// Draws the panel on the right for one run.
pub fn side(ui: &mut Ui, page: &mut Side, run: Option<&RunView>) {
    ui.horizontal(|ui| {
        for (side, title) in Side::ALL {
            ui.selectable_value(page, side, title);
        }
    });
    ui.separator();
    let Some(run) = run else {
        ui.weak("Choose a run on the left.");
        return;
    };
    ScrollArea::vertical().id_salt(("side", *page as u8)).auto_shrink(false).stick_to_bottom(*page == Side::Log).show(
        ui,
        |ui| match page {
            Side::Details => details::details(ui, run),
            Side::Samples => samples::samples(ui, run),
            Side::Data => data::data(ui, run),
            Side::Log => log::log(ui, run),
        },
    );
}
