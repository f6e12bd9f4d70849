//! The window's connection to the workers behind it: requests go out, replies come in, the window never waits.

use std::{path::Path, sync::Arc};

use eframe::egui;

use super::repaint_interval::RepaintInterval;
use crate::event::messages::{Reply, Request};

/// The window's end of the connection.
pub struct Link {
    /// Sends a request; returns at once.
    pub send: Box<dyn Fn(Request)>,
    /// The next reply of the workers, if there is one.
    pub receive: Box<dyn Fn() -> Option<Reply>>,
    /// Downloads a folder of the workers, where their files are not those of the person's disk: on a page.
    pub download_folder: Option<DownloadFolder>,
}

/// Downloads a folder of the workers.
pub type DownloadFolder = Box<dyn Fn(&Path)>;

/// Makes the window look for replies soon. May be called from any thread, as often as one likes.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Makes the window look for replies, after the repaint interval at the earliest.
pub fn wake(ctx: &egui::Context, repaint_interval: &RepaintInterval) -> Wake {
    let (ctx, repaint_interval) = (ctx.clone(), repaint_interval.clone());
    Arc::new(move || ctx.request_repaint_after(repaint_interval.wait()))
}
