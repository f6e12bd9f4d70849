//! Masks: which entries of a tensor are trained. One file a way of choosing, one line in [`MASKS`].

pub mod drawn;

mod entry;
mod gradient;
mod magnitude;

use crate::{Error, Result};

pub use drawn::{draw, spread};
pub use entry::MaskEntry;

/// Every way of choosing a mask.
pub const MASKS: &[MaskEntry] = &[
    MaskEntry { name: "random", about: "at random, by the seed (SpaRTA)", choose: None },
    magnitude::LOW,
    magnitude::HIGH,
    gradient::ENTRY,
];

/// The mask that looks at the gradients of whole tensors.
pub const GRADIENT: &str = gradient::ENTRY.name;

/// The mask of this name.
///
/// # Errors
/// No such mask; the message lists those there are.
pub fn find(name: &str) -> Result<&'static MaskEntry> {
    MASKS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<_> = MASKS.iter().map(|entry| entry.name).collect();
        Error::input(format!("--mask {name}: there is no such mask; there are {}", names.join(", ")))
    })
}
