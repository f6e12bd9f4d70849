//! A panic ends a thread of the page. It is reported to the page's script with one sentence.

use std::cell::RefCell;

use js_sys::Function;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

thread_local! {
    static ON_PANIC: RefCell<Option<Function>> = const { RefCell::new(None) };
}

/// Calls `report` with one sentence when this thread panics; nothing works afterwards.
#[wasm_bindgen(js_name = onPanic)]
pub fn on_panic(report: Function) {
    ON_PANIC.set(Some(report));
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("no message");
        let location = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        let sentence = agoge::panics::describe(&format!("{text}{location}"));
        ON_PANIC.with_borrow(|report| {
            if let Some(report) = report {
                let _ = report.call1(&JsValue::NULL, &JsValue::from_str(&sentence));
            }
        });
    }));
}
