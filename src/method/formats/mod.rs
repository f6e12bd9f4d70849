//! Layouts of adapter folders: one file each, one line in [`FORMATS`]. Reading is by content, so that every `--adapter`
//! takes all of them; writing is `agoge export`.

mod common;
mod lora;
mod native;
mod peft;
mod peft_parts;
mod shira;
mod sparta;
mod torch;

use std::path::Path;

use super::adapter::{Adapter, INFO};
use crate::{Error, Result, model::Pretrained, storage};

pub use super::adapter::{Export, Files, Format};

/// Every layout; the first whose file is there is taken.
pub const FORMATS: &[Format] = &[native::FORMAT, sparta::FORMAT, peft::FORMAT];

/// Name of the program's own layout.
pub const OWN: &str = native::FORMAT.name;

/// The layout of this name.
///
/// # Errors
/// No such layout; the message lists those there are.
pub fn find(name: &str) -> Result<&'static Format> {
    FORMATS.iter().find(|format| format.name == name).ok_or_else(|| {
        let names: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
        Error::input(format!("there is no adapter format \"{name}\"; there are {}", names.join(", ")))
    })
}

/// Other things that people take for adapters, and what to do about them.
const NEARLY: &[(&str, &str)] = &[
    (
        "sparse_deltas.pt",
        "a SpaRTA adapter in PyTorch's own format; convert_pt_to_safetensors of the package peft_sparta rewrites it as \
         sparse_deltas.safetensors",
    ),
    ("checkpoints", "a training run without a saved adapter; let it finish, or continue it with --resume"),
];

/// The layout of the adapter in a folder, if there is one.
pub fn in_folder(folder: &Path) -> Option<&'static Format> {
    FORMATS.iter().find(|format| storage::exists(folder.join(format.marker)))
}

impl Adapter {
    /// Reads an adapter folder, in whichever of the known layouts it is.
    ///
    /// # Errors
    /// A folder that is not an adapter, is of a newer version, or whose files are cut off.
    pub fn read(folder: &Path) -> Result<Self> {
        let format = recognise(folder)?;
        let (info, weights) = (format.open)(folder)?;
        Ok(Self { folder: folder.to_path_buf(), format, info, weights })
    }
}

/// The layout of a folder.
fn recognise(folder: &Path) -> Result<&'static Format> {
    if let Some(format) = in_folder(folder) {
        return Ok(format);
    }
    if let Some((_, what)) = NEARLY.iter().find(|(name, _)| storage::exists(folder.join(name))) {
        return Err(Error::input(format!("{}: there is no {INFO}, this is {what}", folder.display())));
    }
    let others: Vec<_> = FORMATS.iter().map(|format| format.marker).filter(|marker| *marker != INFO).collect();
    Err(Error::input(format!(
        "{}: not an adapter folder, there is no {INFO}; give the --out folder of a training run (or another program's \
         adapter, with {})",
        folder.display(),
        others.join(" or ")
    )))
}

/// Writes an adapter in another layout.
///
/// # Errors
/// An adapter that the layout cannot hold.
pub fn export(adapter: &Adapter, base: &Pretrained, format: &Format, base_name: String) -> Result<Files> {
    adapter.check_base(base)?;
    let changes = adapter.changes(&base.transformer)?.into_iter().filter(|tensor| !tensor.change.is_empty()).collect();
    (format.write)(&Export { adapter, changes, base, base_name })
}
