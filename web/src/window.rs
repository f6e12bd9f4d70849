//! The page's side: the window on a canvas.

use std::{cell::RefCell, collections::VecDeque, path::PathBuf, rc::Rc, sync::Arc};

use agoge::{
    demo, desk,
    event::messages::Reply,
    window::{self, App, Host, Kind, Link, Options, Pace, Remembered, Wake},
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

    /// Sends a request to the desk.
    #[wasm_bindgen(method)]
    fn ask(this: &PageHost, request: &str);
    /// Lets a person choose a "folder", "files" or the "clipboard"; the path where they lie then.
    #[wasm_bindgen(method)]
    fn choose(this: &PageHost, what: &str) -> Promise;
    /// Gives a person a file.
    #[wasm_bindgen(method)]
    fn download(this: &PageHost, name: &str, content: Uint8Array);
    /// Gives a person a folder of the desk's.
    #[wasm_bindgen(method, js_name = downloadFolder)]
    fn download_folder(this: &PageHost, folder: &str);
}

thread_local! {
    static REPAINT: RefCell<Option<Wake>> = const { RefCell::new(None) };
}

/// A window on a canvas.
#[wasm_bindgen]
pub struct Window {
    runner: WebRunner,
    inbox: Rc<RefCell<VecDeque<Reply>>>,
}

#[wasm_bindgen]
impl Window {
    /// Opens it, with the runs in the folders `watch` in its list. `is_software` if the browser draws on the processor.
    pub async fn open(
        canvas: HtmlCanvasElement,
        host: PageHost,
        watch: Vec<String>,
        is_software: bool,
    ) -> Result<Window, JsValue> {
        let host = Rc::new(host);
        let inbox: Rc<RefCell<VecDeque<Reply>>> = Rc::default();
        serve(&host);
        let options = Options {
            runs_folder: "runs".into(),
            watch: watch.into_iter().map(PathBuf::from).collect(),
            demo: demo::config(),
            choices: desk::choices(),
            layouts: desk::layouts(),
            adapter_files: desk::adapter_files(),
            offers_to_go_on: true,
            ..Options::default()
        };
        let (asks, packs, hears) = (host.clone(), host, inbox.clone());
        let link = Link {
            ask: Box::new(move |request| {
                if let Ok(request) = serde_json::to_string(&request) {
                    asks.ask(&request);
                }
            }),
            hear: Box::new(move || hears.borrow_mut().pop_front()),
            download: Some(Box::new(move |folder| packs.download_folder(&folder.display().to_string()))),
        };
        let create = move |context: &eframe::CreationContext<'_>| {
            let pace = Pace::new(is_software);
            REPAINT.set(Some(window::wake(&context.egui_ctx, &pace)));
            let stored =
                context.storage.and_then(|storage| eframe::get_value::<Remembered>(storage, window::STORAGE_KEY));
            let remembered = stored.unwrap_or_else(Remembered::first);
            let app = App::new(&context.egui_ctx, link, options, remembered, pace, Arc::default());
            Ok(Box::new(app) as Box<dyn eframe::App>)
        };
        let runner = WebRunner::new();
        runner.start(canvas, WebOptions::default(), Box::new(create)).await?;
        Ok(Self { runner, inbox })
    }

    /// Takes in a reply of the desk.
    pub fn hear(&self, reply: &str) -> Result<(), JsValue> {
        let reply = serde_json::from_str(reply).map_err(sentence)?;
        self.inbox.borrow_mut().push_back(reply);
        REPAINT.with_borrow(|wake| {
            if let Some(wake) = wake {
                wake();
            }
        });
        Ok(())
    }

    /// Files that a person dropped lie under this path now.
    pub fn dropped(&self, path: &str) {
        if let Some(mut app) = self.runner.app_mut::<App>() {
            app.dropped(path.as_ref());
        }
        REPAINT.with_borrow(|wake| {
            if let Some(wake) = wake {
                wake();
            }
        });
    }

    /// Says something at the lower edge.
    pub fn say(&self, text: &str, is_fault: bool) {
        if let Some(mut app) = self.runner.app_mut::<App>() {
            app.say(text, is_fault);
        }
    }

    /// What ended the window, if it has panicked.
    #[wasm_bindgen(js_name = panicked)]
    pub fn panicked(&self) -> Option<String> {
        self.runner.panic_summary().map(|summary| summary.message())
    }
}

/// Makes the page's script the one that shows dialogs.
fn serve(host: &Rc<PageHost>) {
    let (chooses, downloads) = (host.clone(), host.clone());
    window::serve(Host {
        choose: Box::new(move |kind, chosen| {
            let choice = chooses.choose(match kind {
                Kind::Folder => "folder",
                Kind::Clipboard => "clipboard",
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
        download: Box::new(move |name, content| downloads.download(name, Uint8Array::from(content))),
    });
}
