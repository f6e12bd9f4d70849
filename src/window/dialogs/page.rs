//! Dialogs of a page: the browser's file picker, whose files are copied into the page's storage, and downloads.

use std::{cell::RefCell, path::PathBuf, sync::mpsc::Sender};

use eframe::egui;

use super::request::{Answer, DialogKind, Purpose};

/// Called with the path of what was chosen.
pub type Chosen = Box<dyn FnOnce(PathBuf)>;

/// Called with the name and the bytes of a file.
pub type Download = Box<dyn Fn(&str, &[u8])>;

/// The dialogs that the page's script shows for the window.
pub struct PageDialogs {
    /// Lets a person choose files, copies them into the page's storage and calls back with their path there.
    pub choose: Box<dyn Fn(DialogKind, Chosen)>,
    /// Downloads a file under a name.
    pub download: Download,
}

thread_local! {
    static DIALOGS: RefCell<Option<PageDialogs>> = const { RefCell::new(None) };
}

/// Sets the dialogs of the page.
pub fn set_page_dialogs(dialogs: PageDialogs) {
    DIALOGS.set(Some(dialogs));
}

pub(super) fn open(ctx: &egui::Context, kind: DialogKind, _title: &str, purpose: Purpose, answer: Sender<Answer>) {
    DIALOGS.with_borrow(|dialogs| {
        let Some(dialogs) = dialogs else { return };
        if let Purpose::Save(name, content) = &purpose {
            (dialogs.download)(name, content);
            return;
        }
        let ctx = ctx.clone();
        let chosen = Box::new(move |path| {
            let _ = answer.send((purpose, Some(path)));
            ctx.request_repaint();
        });
        (dialogs.choose)(kind, chosen);
    });
}
