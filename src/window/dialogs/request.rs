//! What a dialog asks for, and what its answer is for.

use std::path::PathBuf;

/// What a chosen path is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Purpose {
    /// The setting of this name on the start page.
    Setting(String),
    /// The folder of a run to open.
    OpenRun,
    /// The folder for the merged model.
    MergeInto,
    /// The folder for the exported adapter.
    ExportInto,
    /// The file for this content, with a proposed name.
    Save(String, Vec<u8>),
}

/// What a dialog asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialogKind {
    /// An existing folder.
    Folder,
    /// An existing file.
    File,
    /// A file to write, with a proposed name and extension.
    NewFile(&'static str, &'static str),
    /// The text on the clipboard, as a file.
    #[cfg(target_arch = "wasm32")]
    Clipboard,
}

/// A purpose and the path that was chosen for it; `None` where there are no dialogs.
pub type Answer = (Purpose, Option<PathBuf>);
