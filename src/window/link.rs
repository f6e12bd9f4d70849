//! The window's line to the desk behind it: requests go out, replies come in, nobody waits.

use std::{path::Path, sync::Arc};

use eframe::egui;

use super::pace::Pace;
use crate::event::messages::{Reply, Request};

/// Both ends of the line, as the window holds them.
pub struct Link {
    /// Sends a request; returns at once.
    pub ask: Box<dyn Fn(Request)>,
    /// The next thing that the desk says, if there is one.
    pub hear: Box<dyn Fn() -> Option<Reply>>,
    /// Gives a person a folder of the desk's, where the desk's files are not the person's own: on a page.
    pub download: Option<Download>,
}

/// Gives a person a folder of the desk's.
pub type Download = Box<dyn Fn(&Path)>;

/// Makes the window look for replies soon. May be called from any thread, at any rate.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Makes the window look for news, no sooner than its pace allows.
pub fn wake(ctx: &egui::Context, pace: &Pace) -> Wake {
    let (ctx, pace) = (ctx.clone(), pace.clone());
    Arc::new(move || ctx.request_repaint_after(pace.wait()))
}
