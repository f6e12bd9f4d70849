//! A run from its settings to its end, the same for every front end: terminal, window, page, comparison and demo.
//!
//! It is launched in stages, each a small type that can only be made of the one before:
//! [`Checked`] settings, [`Pinned`] model (fetched, its commit known), [`Loaded`] model and data, [`Prepared`] folder. The
//! last one starts the [`Session`], which is polled for [`Update`]s and listens to [`Commands`]. [`Preflight`] is what is
//! known of a run without its weights.

mod checked;
mod devices;
mod launch;
mod load;
mod pause;
mod preflight;
mod running;

pub use checked::{Checked, Faults};
pub use devices::{OpenDevices, lines};
pub use launch::{Loaded, Pinned, Prepared, launch};
pub use load::load_inputs;
pub use pause::{breathe, sleep};
pub use preflight::Preflight;
pub use running::{Commands, Session, Update};
