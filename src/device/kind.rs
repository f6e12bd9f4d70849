//! The kinds of hardware that a device can be.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of hardware an adapter is; the order is the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A GPU with memory of its own.
    DiscreteGpu,
    /// A GPU that shares the machine's memory.
    IntegratedGpu,
    /// A GPU of a virtual machine.
    VirtualGpu,
    /// An adapter that does not say what it is.
    Other,
    /// A GPU imitated on the CPU (lavapipe, SwiftShader, WARP).
    SoftwareGpu,
    /// Burn's CPU backend, without any graphics driver.
    Cpu,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiscreteGpu => "discrete GPU",
            Self::IntegratedGpu => "integrated GPU",
            Self::VirtualGpu => "virtual GPU",
            Self::Other => "other adapter",
            Self::SoftwareGpu => "software GPU",
            Self::Cpu => "CPU",
        })
    }
}
