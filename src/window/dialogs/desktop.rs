//! Dialogs of a desktop.

use std::{path::PathBuf, sync::mpsc::Sender, time::Duration};

use eframe::egui;
use web_time::Instant;

use super::{Answer, Kind, Purpose};

/// Time within which a dialog that cannot be shown is known to be missing.
const NO_DIALOG: Duration = Duration::from_millis(200);

pub(super) fn open(ctx: &egui::Context, kind: Kind, title: &str, purpose: Purpose, answer: Sender<Answer>) {
    let dialog = rfd::AsyncFileDialog::new().set_title(title);
    let ctx = ctx.clone();
    // Made on the window's thread, which macOS demands; waited for on another.
    let waiting: std::pin::Pin<Box<dyn Future<Output = Option<rfd::FileHandle>> + Send>> = match kind {
        Kind::Folder => Box::pin(dialog.pick_folder()),
        Kind::File => Box::pin(dialog.pick_file()),
        Kind::NewFile(name, extension) => Box::pin(
            dialog.set_file_name(format!("{name}.{extension}")).add_filter(extension, &[extension]).save_file(),
        ),
    };
    let asked = Instant::now();
    std::thread::spawn(move || {
        let chosen: Option<PathBuf> = pollster::block_on(waiting).map(|file| file.path().to_path_buf());
        // Nobody closes a dialog as fast as a desktop without dialogs says that it has none.
        if chosen.is_some() || asked.elapsed() < NO_DIALOG {
            // A window that was closed in the meantime hears nothing.
            let _ = answer.send((purpose, chosen));
            ctx.request_repaint();
        }
    });
}
