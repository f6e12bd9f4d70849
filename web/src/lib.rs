//! agoge in a browser. One module for both of its threads: the page's own, where the window is drawn on a canvas, and a
//! worker, where the desk has the device and the files. What they say to each other is the desk's protocol as JSON.
#![cfg(target_arch = "wasm32")]

mod checks;
mod desk;
mod files;
mod panics;
mod window;

use wasm_bindgen::JsValue;

/// An error as a page shows it.
fn sentence(error: impl std::fmt::Display) -> JsValue {
    JsValue::from_str(&error.to_string())
}
