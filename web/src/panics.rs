//! A panic ends a thread of the page. It says so before it goes.

use std::cell::RefCell;

use js_sys::Function;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

thread_local! {
    static LAST_WORDS: RefCell<Option<Function>> = const { RefCell::new(None) };
}

/// Has `say` called with one sentence when this thread panics; nothing works afterwards.
#[wasm_bindgen(js_name = onPanic)]
pub fn on_panic(say: Function) {
    LAST_WORDS.set(Some(say));
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
        let sentence = agoge::panics::describe(&format!("{text}{place}"));
        LAST_WORDS.with_borrow(|say| {
            if let Some(say) = say {
                let _ = say.call1(&JsValue::NULL, &JsValue::from_str(&sentence));
            }
        });
    }));
}
