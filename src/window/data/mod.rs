//! What a window keeps of each run: built from events alone, so that a replay gives the same picture as the run itself.

pub mod columns;
pub mod pyramid;
pub mod run;
pub mod smooth;
