//! A line of the table of methods.

use super::{
    adapter::Adapter,
    change::TensorChange,
    description::{Description, Setup},
};
use crate::{Result, model::Transformer};

/// The setting that decides how much a method trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Any number of trainable parameters can be had.
    Exact {
        /// The setting that people choose by.
        shown: &'static str,
        /// The setting that takes the number itself.
        counted: &'static str,
    },
    /// Only some numbers can be had, by a rank or the like.
    Steps {
        /// The setting.
        shown: &'static str,
    },
}

impl Budget {
    /// The setting that people choose by.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Exact { shown, .. } | Self::Steps { shown } => shown,
        }
    }
}

/// Describes a method on a model, from shapes alone.
type Describe = fn(&mut Setup<'_>, &Transformer) -> Result<Description>;
/// What a saved adapter does to each tensor of its model.
type Changes = fn(&Adapter) -> Result<Vec<TensorChange>>;

/// One training method.
#[derive(Debug)]
pub struct MethodEntry {
    /// Name for `--method`.
    pub name: &'static str,
    /// One line for `--help` and the window.
    pub about: &'static str,
    /// Learning rate where none is given, found by the sweep recorded in the README.
    pub learning_rate: f64,
    /// Names of the settings that it reads beside those of every run; defaults and bounds are in [`config`](crate::config).
    pub settings: &'static [&'static str],
    /// The setting that decides how much it trains; `None` of a method that trains all there is.
    pub budget: Option<Budget>,
    /// Says what it trains.
    pub describe: Describe,
    /// Reads its adapter.
    pub changes: Changes,
}
