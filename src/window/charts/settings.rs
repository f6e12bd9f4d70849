//! How the charts are drawn.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::metric::Metric;
use crate::window::data::columns::XAxis;

/// How the charts are drawn; saved with the state of the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChartSettings {
    /// What the horizontal axis counts.
    pub axis: XAxis,
    /// Smoothing of the loss: weight of the past, from 0 (none) to below 1.
    pub smoothing: f64,
    /// Whether outliers are drawn at the edge instead of widening the axis.
    pub clip: bool,
    /// Charts with a logarithmic axis.
    pub log: BTreeSet<Metric>,
    /// Whether the zoom of every chart is reset in this frame.
    #[serde(skip)]
    pub reset_zoom: bool,
}

impl Default for ChartSettings {
    fn default() -> Self {
        Self { axis: XAxis::Step, smoothing: 0.8, clip: true, log: BTreeSet::new(), reset_zoom: false }
    }
}
