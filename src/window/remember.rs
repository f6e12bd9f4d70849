//! What the window remembers from one start to the next.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    charts::ChartSettings,
    panels::{Side, compare::Column},
};

/// Folders that are remembered at most.
const MOST: usize = 50;

/// Remembered things.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remembered {
    /// How the charts are drawn.
    pub charts: ChartSettings,
    /// Page of the panel on the right.
    pub side: Side,
    /// What the comparison is sorted by.
    pub sorted_by: Column,
    /// Folders of runs in the list, and whether their curves are shown.
    pub runs: Vec<(PathBuf, bool)>,
    /// Settings of the start page that are not at their defaults, by name.
    pub form: Vec<(String, String)>,
    /// Whether the start page offers the demo.
    pub demo: bool,
    /// Prompt of the page for use.
    pub prompt: String,
}

impl Remembered {
    /// What the window remembers when it is opened for the first time.
    pub fn first() -> Self {
        Self { demo: true, ..Self::default() }
    }

    /// Forgets the oldest of too many runs.
    pub fn bound(&mut self) {
        let surplus = self.runs.len().saturating_sub(MOST);
        self.runs.drain(..surplus);
    }
}
