//! The page's side: the window on a canvas.

use std::{cell::RefCell, collections::VecDeque, path::PathBuf, rc::Rc, sync::Arc};

use agoge::{
    demo,
    event::messages::Reply,
    window::{self, App, DialogKind, Link, Options, PageDialogs, RepaintInterval, SavedState, Wake},
    workers,
};
use eframe::{WebOptions, WebRunner};
use js_sys::{Promise, Uint8Array};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::HtmlCanvasElement;

use super::sentence;

#[wasm_bindgen]
extern "C" {
    /// What the page's script does for the window.
    pub type PageHost;

    /// Sends a request to the workers.
    #[wasm_bindgen(method)]
    fn send(this: &PageHost, request: &str);
    /// Lets a person choose a "folder", "files" or the "clipboard"; resolves to their path in the page's storage.
    #[wasm_bindgen(method)]
    fn choose(this: &PageHost, what: &str) -> Promise;
    /// Downloads a file.
    #[wasm_bindgen(method)]
    fn download(this: &PageHost, name: &str, content: Uint8Array);
    /// Downloads a folder of the workers.
    #[wasm_bindgen(method, js_name = downloadFolder)]
    fn download_folder(this: &PageHost, folder: &str);
}

thread_local! {
    static WAKE: RefCell<Option<Wake>> = const { RefCell::new(None) };
}

/// A window on a canvas.
#[wasm_bindgen]
pub struct Window {
    runner: WebRunner,
    replies: Rc<RefCell<VecDeque<Reply>>>,
}

#[wasm_bindgen]
impl Window {
    /// Opens it, with the runs in the folders `watch` in its list. `is_software`: whether the browser draws on the processor.
    pub async fn open(
        canvas: HtmlCanvasElement,
        host: PageHost,
        watch: Vec<String>,
        is_software: bool,
    ) -> Result<Window, JsValue> {
        let host = Rc::new(host);
        let replies: Rc<RefCell<VecDeque<Reply>>> = Rc::default();
        set_dialogs(&host);
        let options = Options {
            runs_folder: "runs".into(),
            watch: watch.into_iter().map(PathBuf::from).collect(),
            demo: demo::config(),
            choices: workers::choices(),
            method_settings: workers::method_settings(),
            comparisons: workers::comparisons(),
            layouts: workers::layouts(),
            adapter_files: workers::adapter_files(),
            offers_resume: true,
            ..Options::default()
        };
        let (sender, downloader, received) = (host.clone(), host, replies.clone());
        let link = Link {
            send: Box::new(move |request| {
                if let Ok(request) = serde_json::to_string(&request) {
                    sender.send(&request);
                }
            }),
            receive: Box::new(move || received.borrow_mut().pop_front()),
            download_folder: Some(Box::new(move |folder| downloader.download_folder(&folder.display().to_string()))),
        };
        let create = move |context: &eframe::CreationContext<'_>| {
            let repaint_interval = RepaintInterval::new(is_software);
            WAKE.set(Some(window::wake(&context.egui_ctx, &repaint_interval)));
            let saved = SavedState::load(context.storage);
            let app = App::new(&context.egui_ctx, link, options, saved, repaint_interval, Arc::default());
            Ok(Box::new(app) as Box<dyn eframe::App>)
        };
        let runner = WebRunner::new();
        runner.start(canvas, WebOptions::default(), Box::new(create)).await?;
        Ok(Self { runner, replies })
    }

    /// Receives a reply of the workers, as JSON.
    pub fn receive(&self, reply: &str) -> Result<(), JsValue> {
        let reply = serde_json::from_str(reply).map_err(sentence)?;
        self.replies.borrow_mut().push_back(reply);
        wake();
        Ok(())
    }

    /// A person dropped files, which are under this path now.
    pub fn dropped(&self, path: &str) {
        if let Some(mut app) = self.runner.app_mut::<App>() {
            app.dropped(path.as_ref());
        }
        wake();
    }

    /// Shows a message at the bottom of the window.
    #[wasm_bindgen(js_name = showMessage)]
    pub fn show_message(&self, text: &str, is_fault: bool) {
        if let Some(mut app) = self.runner.app_mut::<App>() {
            app.show_message(text, is_fault);
        }
    }

    /// The message of the panic that ended the window, if it has panicked.
    #[wasm_bindgen(js_name = panicked)]
    pub fn panicked(&self) -> Option<String> {
        self.runner.panic_summary().map(|summary| summary.message())
    }
}

fn wake() {
    WAKE.with_borrow(|wake| {
        if let Some(wake) = wake {
            wake();
        }
    });
}

/// Makes the page's script show the dialogs.
fn set_dialogs(host: &Rc<PageHost>) {
    let (chooser, downloader) = (host.clone(), host.clone());
    window::set_page_dialogs(PageDialogs {
        choose: Box::new(move |kind, chosen| {
            let choice = chooser.choose(match kind {
                DialogKind::Folder => "folder",
                DialogKind::Clipboard => "clipboard",
                _ => "files",
            });
            spawn_local(async move {
                if let Ok(path) = JsFuture::from(choice).await
                    && let Some(path) = path.as_string()
                {
                    chosen(PathBuf::from(path));
                }
            });
        }),
        download: Box::new(move |name, content| downloader.download(name, Uint8Array::from(content))),
    });
}
