//! What is saved when the window is closed and loaded when it is opened again.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    charts::ChartSettings,
    panels::{Side, compare::Column},
};

/// Key of the saved state in eframe's storage.
const STORAGE_KEY: &str = "agoge-window";

/// Most folders of runs that are saved.
const MOST_RUNS: usize = 50;

/// The saved state. Its field names are those of the stored text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedState {
    /// How the charts are drawn.
    pub charts: ChartSettings,
    /// Page of the panel on the right.
    pub side: Side,
    /// Column that the comparison is sorted by.
    pub sorted_by: Column,
    /// Folders of runs in the list, and whether their curves are shown.
    pub runs: Vec<(PathBuf, bool)>,
    /// Settings of the start page that are not at their defaults, by name.
    pub form: Vec<(String, String)>,
    /// Whether the start page offers the demo.
    pub demo: bool,
    /// Prompt of the page that uses an adapter.
    pub prompt: String,
}

impl SavedState {
    /// The state of a window that is opened for the first time.
    pub fn first() -> Self {
        Self { demo: true, ..Self::default() }
    }

    /// Loads the saved state; that of the first time where there is none.
    pub fn load(storage: Option<&dyn eframe::Storage>) -> Self {
        storage.and_then(|storage| eframe::get_value(storage, STORAGE_KEY)).unwrap_or_else(Self::first)
    }

    /// Saves the state.
    pub fn save(&self, storage: &mut dyn eframe::Storage) {
        eframe::set_value(storage, STORAGE_KEY, self);
    }

    /// Drops the oldest of too many runs.
    pub fn limit_runs(&mut self) {
        let surplus = self.runs.len().saturating_sub(MOST_RUNS);
        self.runs.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::window::{charts::metric::Metric, data::columns::XAxis};

    #[derive(Default)]
    struct Memory(BTreeMap<String, String>);

    impl eframe::Storage for Memory {
        fn get_string(&self, key: &str) -> Option<String> {
            self.0.get(key).cloned()
        }

        fn set_string(&mut self, key: &str, value: String) {
            self.0.insert(key.into(), value);
        }

        fn remove_string(&mut self, key: &str) {
            self.0.remove(key);
        }

        fn flush(&mut self) {}
    }

    /// What earlier versions have saved is still read.
    #[test]
    fn a_stored_state_is_loaded() {
        let stored = r#"(charts:(axis:Tokens,smoothing:0.5,clip:false,log:[Loss]),side:Facts,sorted_by:Trained,
            runs:[("runs/a",false)],form:[("steps","7")],demo:true,prompt:"Why?")"#;
        let mut memory = Memory::default();
        eframe::Storage::set_string(&mut memory, "agoge-window", stored.into());
        let charts = ChartSettings {
            axis: XAxis::Tokens,
            smoothing: 0.5,
            clip: false,
            log: [Metric::Loss].into(),
            ..ChartSettings::default()
        };
        let expected = SavedState {
            charts,
            side: Side::Details,
            sorted_by: Column::Trainable,
            runs: vec![("runs/a".into(), false)],
            form: vec![("steps".into(), "7".into())],
            demo: true,
            prompt: "Why?".into(),
        };
        assert_eq!(SavedState::load(Some(&memory)), expected);
        expected.save(&mut memory);
        assert_eq!(SavedState::load(Some(&memory)), expected);
        assert_eq!(SavedState::load(None), SavedState::first());
    }
}
