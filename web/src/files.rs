//! The files of a thread of the page, for its scripts.

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

/// Puts a file (a Blob or bytes) under a path; the browser's storage has it already.
#[wasm_bindgen(js_name = putFile)]
pub fn put(path: &str, content: &JsValue) {
    storage::put(Path::new(path), content_of(content));
}

/// Adds a file of a person under a path; [`take_changes`] then returns it.
#[wasm_bindgen(js_name = addFile)]
pub fn add(path: &str, content: &JsValue) {
    storage::write_content(Path::new(path), content_of(content));
}

/// Removes a path from the files of this thread.
#[wasm_bindgen(js_name = forgetPath)]
pub fn forget(path: &str) {
    storage::forget(Path::new(path));
}

/// The changes of the files since the last call, in order: objects with `path`, and for a file that was written `from` and
/// `content`, the bytes from there on.
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
                // A file that is gone again has a later change.
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

/// A folder with everything in it as a zip file.
#[wasm_bindgen(js_name = zipFolder)]
pub fn zip_folder(folder: &str) -> Result<Vec<u8>, JsValue> {
    let folder = Path::new(folder);
    let parent = folder.parent().unwrap_or(Path::new(""));
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // Weights cannot be compressed.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    for path in storage::all_below(folder) {
        // Checkpoints are for resuming here.
        if path.components().any(|part| part.as_os_str() == "checkpoints") {
            continue;
        }
        let name = path.strip_prefix(parent).unwrap_or(&path).display().to_string();
        zip.start_file(name, options).map_err(sentence)?;
        zip.write_all(&storage::read(&path).map_err(sentence)?).map_err(sentence)?;
    }
    zip.finish().map(Cursor::into_inner).map_err(sentence)
}
