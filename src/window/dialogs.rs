//! The system's own dialogs for files and folders. They are shown without stopping the window; what was chosen comes back
//! through a channel.

use std::{
    path::PathBuf,
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use eframe::egui;
use web_time::Instant;

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
}

/// Time within which a dialog that cannot be shown is known to be missing.
const NO_DIALOG: Duration = Duration::from_millis(200);

/// Open dialogs and their answers.
pub struct Dialogs {
    sender: Sender<(Purpose, Option<PathBuf>)>,
    chosen: Receiver<(Purpose, Option<PathBuf>)>,
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
        let dialog = rfd::AsyncFileDialog::new().set_title(title);
        let (sender, ctx) = (self.sender.clone(), ctx.clone());
        // Made on the window's thread, which macOS demands; waited for on another.
        let answer: std::pin::Pin<Box<dyn Future<Output = Option<rfd::FileHandle>> + Send>> = match kind {
            Kind::Folder => Box::pin(dialog.pick_folder()),
            Kind::File => Box::pin(dialog.pick_file()),
            Kind::NewFile(name, extension) => Box::pin(
                dialog.set_file_name(format!("{name}.{extension}")).add_filter(extension, &[extension]).save_file(),
            ),
        };
        let asked = Instant::now();
        std::thread::spawn(move || {
            let chosen = pollster::block_on(answer).map(|file| file.path().to_path_buf());
            // Nobody closes a dialog as fast as a desktop without dialogs says that it has none.
            if chosen.is_some() || asked.elapsed() < NO_DIALOG {
                // A window that was closed in the meantime hears nothing.
                let _ = sender.send((purpose, chosen));
                ctx.request_repaint();
            }
        });
    }

    /// The next path that was chosen; `None` for the path where the desktop has no dialogs.
    pub fn chosen(&self) -> Option<(Purpose, Option<PathBuf>)> {
        self.chosen.try_recv().ok()
    }
}
