//! The worker's side: the program's workers.

use std::cell::RefCell;

use agoge::{event::messages::Request, workers};
use js_sys::Function;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use super::sentence;

thread_local! {
    static WAKE: RefCell<Option<Function>> = const { RefCell::new(None) };
}

/// The workers of a page.
#[wasm_bindgen]
pub struct Workers(workers::Workers);

#[wasm_bindgen]
impl Workers {
    /// Starts them; `wake` is called whenever there is a reply.
    #[wasm_bindgen(constructor)]
    pub fn open(wake: Function) -> Self {
        WAKE.set(Some(wake));
        Self(workers::Workers::start(|| {
            WAKE.with_borrow(|wake| {
                if let Some(wake) = wake {
                    let _ = wake.call0(&JsValue::NULL);
                }
            });
        }))
    }

    /// Sends a request, as JSON.
    pub fn send(&self, request: &str) -> Result<(), JsValue> {
        let request: Request = serde_json::from_str(request).map_err(sentence)?;
        self.0.send(request);
        Ok(())
    }

    /// The next reply as JSON, if there is one.
    pub fn receive(&self) -> Option<String> {
        self.0.receive().and_then(|reply| serde_json::to_string(&reply).ok())
    }
}
