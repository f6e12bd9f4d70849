//! What stands beside the charts: facts, samples, data, log; the list of runs; the comparison of several.

pub mod compare;
mod data;
mod facts;
mod log;
mod map;
pub mod runs;
mod samples;
pub mod steer;
pub mod tiles;

use eframe::egui::{ScrollArea, Ui};

use super::data::run::RunView;

/// A page of the panel on the right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Side {
    /// What runs where, and which numbers are trained.
    #[default]
    Facts,
    /// What the model says to the same prompts over time.
    Samples,
    /// How the data was understood.
    Data,
    /// What happened.
    Log,
}

impl Side {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Facts, "Facts"), (Self::Samples, "Samples"), (Self::Data, "Data"), (Self::Log, "Log")];
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
            Side::Facts => facts::facts(ui, run),
            Side::Samples => samples::samples(ui, run),
            Side::Data => data::data(ui, run),
            Side::Log => log::log(ui, run),
        },
    );
}
