//! The system's own dialogs for files and folders. They are shown without stopping the window; what was chosen comes back
//! through a channel.

#[cfg(not(target_arch = "wasm32"))]
mod desktop;
#[cfg(target_arch = "wasm32")]
mod page;

#[cfg(not(target_arch = "wasm32"))]
use desktop as platform;
#[cfg(target_arch = "wasm32")]
use page as platform;
#[cfg(target_arch = "wasm32")]
pub use page::{Host, serve};

use std::{
    path::PathBuf,
    sync::mpsc::{Receiver, Sender, channel},
};

use eframe::egui;

/// What a chosen path is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Purpose {
    /// The setting of this name on the start page.
    Setting(String),
    /// The folder of a run to look at.
    OpenRun,
    /// Where the merged model goes.
    MergeInto,
    /// Where the exported adapter goes.
    ExportInto,
    /// Where this content goes, under this name unless a person says otherwise.
    Save(String, Vec<u8>),
}

/// What a dialog asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder that is there.
    Folder,
    /// A file that is there.
    File,
    /// A file to write, with a proposed name and extension.
    NewFile(&'static str, &'static str),
    /// The text on the clipboard, as a file.
    #[cfg(target_arch = "wasm32")]
    Clipboard,
}

/// A purpose and the path that was chosen for it; `None` where there are no dialogs.
type Answer = (Purpose, Option<PathBuf>);

/// Open dialogs and their answers.
pub struct Dialogs {
    sender: Sender<Answer>,
    chosen: Receiver<Answer>,
}

impl Default for Dialogs {
    fn default() -> Self {
        let (sender, chosen) = channel();
        Self { sender, chosen }
    }
}

impl Dialogs {
    /// Opens a dialog.
    pub fn open(&self, ctx: &egui::Context, kind: Kind, title: &str, purpose: Purpose) {
        platform::open(ctx, kind, title, purpose, self.sender.clone());
    }

    /// The next path that was chosen; `None` for the path where the desktop has no dialogs.
    pub fn chosen(&self) -> Option<Answer> {
        self.chosen.try_recv().ok()
    }
}
