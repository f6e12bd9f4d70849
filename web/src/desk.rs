//! The worker's side: the desk.

use std::cell::RefCell;

use agoge::{event::messages::Request, workers::Workers};
use js_sys::Function;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use super::sentence;

thread_local! {
    static WAKE: RefCell<Option<Function>> = const { RefCell::new(None) };
}

/// The desk of a page.
#[wasm_bindgen]
pub struct Desk(Workers);

#[wasm_bindgen]
impl Desk {
    /// Opens it; `wake` is called whenever there is something to hear.
    #[wasm_bindgen(constructor)]
    pub fn open(wake: Function) -> Self {
        WAKE.set(Some(wake));
        Self(Workers::start(|| {
            WAKE.with_borrow(|wake| {
                if let Some(wake) = wake {
                    let _ = wake.call0(&JsValue::NULL);
                }
            });
        }))
    }

    /// Asks for something, in the words of the desk's protocol.
    pub fn ask(&self, request: &str) -> Result<(), JsValue> {
        let request: Request = serde_json::from_str(request).map_err(sentence)?;
        self.0.send(request);
        Ok(())
    }

    /// The next reply, if there is one.
    pub fn hear(&self) -> Option<String> {
        self.0.receive().and_then(|reply| serde_json::to_string(&reply).ok())
    }
}
