//! Dialogs of a desktop.

use std::{path::PathBuf, sync::mpsc::Sender, time::Duration};

use eframe::egui;
use web_time::Instant;

use super::request::{Answer, DialogKind, Purpose};

/// Time within which a desktop without dialogs answers.
const NO_DIALOG: Duration = Duration::from_millis(200);

pub(super) fn open(ctx: &egui::Context, kind: DialogKind, title: &str, purpose: Purpose, answer: Sender<Answer>) {
    let dialog = rfd::AsyncFileDialog::new().set_title(title);
    let ctx = ctx.clone();
    // Created on the window's thread, as macOS demands; awaited on another.
    let waiting: std::pin::Pin<Box<dyn Future<Output = Option<rfd::FileHandle>> + Send>> = match kind {
        DialogKind::Folder => Box::pin(dialog.pick_folder()),
        DialogKind::File => Box::pin(dialog.pick_file()),
        DialogKind::NewFile(name, extension) => Box::pin(
            dialog.set_file_name(format!("{name}.{extension}")).add_filter(extension, &[extension]).save_file(),
        ),
    };
    let asked = Instant::now();
    std::thread::spawn(move || {
        let chosen: Option<PathBuf> = pollster::block_on(waiting).map(|file| file.path().to_path_buf());
        // A desktop without dialogs answers faster than a person can close one.
        if chosen.is_some() || asked.elapsed() < NO_DIALOG {
            // The window may have been closed in the meantime.
            let _ = answer.send((purpose, chosen));
            ctx.request_repaint();
        }
    });
}
