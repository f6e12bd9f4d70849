//! The files of a thread of the page, as its scripts see them.

use std::{
    io::{Cursor, Write},
    path::Path,
    rc::Rc,
};

use agoge::storage::{self, Change, Content};
use js_sys::{Array, Object, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use web_sys::Blob;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::sentence;

fn content_of(value: &JsValue) -> Content {
    match value.dyn_ref::<Blob>() {
        Some(blob) => Content::Browser(blob.clone()),
        None => Content::Memory(Rc::new(Uint8Array::new(value).to_vec())),
    }
}

/// Lays a file (a Blob or bytes) under a path, where the browser's storage has it already.
#[wasm_bindgen(js_name = putFile)]
pub fn put(path: &str, content: &JsValue) {
    storage::put(Path::new(path), content_of(content));
}

/// Lays a file that a person gave under a path; [`take_changes`] then tells of it.
#[wasm_bindgen(js_name = addFile)]
pub fn add(path: &str, content: &JsValue) {
    storage::write_content(Path::new(path), content_of(content));
}

/// Takes a path out of what this thread knows.
#[wasm_bindgen(js_name = forgetPath)]
pub fn forget(path: &str) {
    storage::forget(Path::new(path));
}

/// What was done to the files since the last time, in order: objects with `path`, and for a file that was written `from`
/// and `content`, which is what lies behind that place.
#[wasm_bindgen(js_name = takeChanges)]
pub fn take_changes() -> Result<Array, JsValue> {
    let changes = Array::new();
    for change in storage::take_changes() {
        let object = Object::new();
        let set = |name: &str, value: &JsValue| Reflect::set(&object, &JsValue::from_str(name), value);
        match change {
            Change::Removed(path) => {
                set("path", &path.display().to_string().into())?;
            }
            Change::Written(path, from) => {
                // What is gone again is told of further on.
                let Some(content) = storage::content(&path) else { continue };
                set("path", &path.display().to_string().into())?;
                set("from", &JsValue::from_f64(from as f64))?;
                let content = match content {
                    Content::Browser(blob) => blob.into(),
                    Content::Memory(bytes) => Uint8Array::from(&bytes[from.min(bytes.len())..]).into(),
                };
                set("content", &content)?;
            }
        }
        changes.push(&object);
    }
    Ok(changes)
}

/// A folder with all that is in it as one zip file.
#[wasm_bindgen(js_name = packFolder)]
pub fn pack(folder: &str) -> Result<Vec<u8>, JsValue> {
    let folder = Path::new(folder);
    let above = folder.parent().unwrap_or(Path::new(""));
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // Weights do not get smaller.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    for path in storage::all_below(folder) {
        // A checkpoint is for going on here.
        if path.components().any(|part| part.as_os_str() == "checkpoints") {
            continue;
        }
        let name = path.strip_prefix(above).unwrap_or(&path).display().to_string();
        zip.start_file(name, options).map_err(sentence)?;
        zip.write_all(&storage::read(&path).map_err(sentence)?).map_err(sentence)?;
    }
    zip.finish().map(Cursor::into_inner).map_err(sentence)
}
