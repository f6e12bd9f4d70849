//! The system's own dialogs for files and folders. The window goes on while they are shown; a channel brings what was
//! chosen.

#[cfg(not(target_arch = "wasm32"))]
mod desktop;
#[cfg(not(target_arch = "wasm32"))]
use desktop as platform;

#[cfg(target_arch = "wasm32")]
mod page;
#[cfg(target_arch = "wasm32")]
use page as platform;
#[cfg(target_arch = "wasm32")]
pub use page::{PageDialogs, set_page_dialogs};

mod request;

pub use request::{DialogKind, Purpose};

use std::sync::mpsc::{Receiver, Sender, channel};

use eframe::egui;

use request::Answer;

/// Open dialogs and their answers.
pub struct Dialogs {
    sender: Sender<Answer>,
    answers: Receiver<Answer>,
}

impl Default for Dialogs {
    fn default() -> Self {
        let (sender, answers) = channel();
        Self { sender, answers }
    }
}

impl Dialogs {
    /// Opens a dialog.
    pub fn open(&self, ctx: &egui::Context, kind: DialogKind, title: &str, purpose: Purpose) {
        platform::open(ctx, kind, title, purpose, self.sender.clone());
    }

    /// The next path that was chosen; `None` for the path where the desktop has no dialogs.
    pub fn chosen(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}
