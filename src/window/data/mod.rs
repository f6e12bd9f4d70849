//! What a window keeps of each run: built from events alone, so that a replay gives the same picture as the run itself.

/// Largest number that is kept as a place or drawn: beyond it neighbours cannot be told apart on an axis.
pub const LARGEST: f64 = 1e14;

pub mod columns;
pub mod pyramid;
pub mod run;
pub mod smooth;
