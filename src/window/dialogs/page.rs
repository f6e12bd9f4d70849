//! Dialogs of a page: the browser's picker, which gives the page files of its own, and downloads.

use std::{cell::RefCell, path::PathBuf, sync::mpsc::Sender};

use eframe::egui;

use super::{Answer, Kind, Purpose};

/// Called with what a person chose.
pub type Chosen = Box<dyn FnOnce(PathBuf)>;

/// What the page around the window does for it.
pub struct Host {
    /// Lets a person choose what is asked for, lays it into the page's storage and says where.
    pub choose: Box<dyn Fn(Kind, Chosen)>,
    /// Gives a person a file under a name.
    pub download: Box<dyn Fn(&str, &[u8])>,
}

thread_local! {
    static HOST: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// Makes a page serve the window.
pub fn serve(host: Host) {
    HOST.set(Some(host));
}

pub(super) fn open(ctx: &egui::Context, kind: Kind, _title: &str, purpose: Purpose, answer: Sender<Answer>) {
    HOST.with_borrow(|host| {
        let Some(host) = host else { return };
        if let Purpose::Save(name, content) = &purpose {
            (host.download)(name, content);
            return;
        }
        let ctx = ctx.clone();
        let chosen = Box::new(move |path| {
            let _ = answer.send((purpose, Some(path)));
            ctx.request_repaint();
        });
        (host.choose)(kind, chosen);
    });
}
