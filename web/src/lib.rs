//! agoge in a browser. One module for both of its threads: the page's own, where the window is drawn on a canvas, and a
//! worker, with the program's workers, the device and the files. They exchange requests and replies as JSON.
#![cfg(target_arch = "wasm32")]

mod checks;
mod files;
mod panics;
mod window;
mod workers;

use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

unsafe extern "C" {
    /// Runs what libraries have left to be done before anything else; the linker writes it.
    fn __wasm_call_ctors();
}

/// Prepares a thread. Where a program does not call its constructors itself, the linker takes it for a command and has every
/// single call from JavaScript run all of them again, thousands of registrations of the shader compiler among them.
#[wasm_bindgen(start)]
fn start() {
    // SAFETY: called once in each thread, before anything else of the module.
    unsafe { __wasm_call_ctors() };
}

/// An error as a page shows it.
fn sentence(error: impl std::fmt::Display) -> JsValue {
    JsValue::from_str(&error.to_string())
}
