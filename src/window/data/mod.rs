//! What the window keeps of each run: built from events alone, so that a replay draws what the run itself drew.

pub mod columns;
pub mod run;
pub mod series;
pub mod smooth;
