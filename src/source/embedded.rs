//! The model and the data inside this program.

use std::path::{Path, PathBuf};

use crate::{Error, Result, files, storage};

/// What model and data are called.
pub const NAME: &str = "agoge-demo";

/// `config.json` of the model.
pub const CONFIG: &str = include_str!("../../assets/model/config.json");
/// `model.safetensors`.
pub const WEIGHTS: &[u8] = include_bytes!("../../assets/model/model.safetensors");
/// `tokenizer.json`.
pub const TOKENIZER: &str = include_str!("../../assets/model/tokenizer.json");
/// `tokenizer_config.json`.
pub const TOKENIZER_CONFIG: &str = include_str!("../../assets/model/tokenizer_config.json");
/// Rows to train on.
pub const TRAIN: &str = include_str!("../../assets/demo/train.jsonl");
/// Rows to evaluate on.
pub const VALID: &str = include_str!("../../assets/demo/valid.jsonl");

/// Whether a path means the model or the data inside this program.
pub fn is_embedded(path: &Path) -> bool {
    path.as_os_str() == NAME
}

/// The folder of the model, which is unpacked first.
///
/// # Errors
/// There is no place to unpack it.
pub fn model() -> Result<PathBuf> {
    unpacked().map(|folder| folder.join(NAME))
}

/// The folder of the data, which are unpacked first.
///
/// # Errors
/// There is no place to unpack them.
pub fn data() -> Result<PathBuf> {
    unpacked().map(|folder| folder.join("data"))
}

/// Writes the model to the folder `model` and the data to the folder `data`.
///
/// # Errors
/// A folder that cannot be written.
pub fn write(model: &Path, data: &Path) -> Result<()> {
    for folder in [model, data] {
        storage::create_dir_all(folder).map_err(|e| Error::file("create", folder, e))?;
    }
    let parts: [(&Path, &str, &[u8]); 6] = [
        (model, "config.json", CONFIG.as_bytes()),
        (model, "model.safetensors", WEIGHTS),
        (model, "tokenizer.json", TOKENIZER.as_bytes()),
        (model, "tokenizer_config.json", TOKENIZER_CONFIG.as_bytes()),
        (data, "train.jsonl", TRAIN.as_bytes()),
        (data, "valid.jsonl", VALID.as_bytes()),
    ];
    for (folder, name, bytes) in parts {
        let path = folder.join(name);
        // Other processes may be reading it: what is right already stays.
        if !storage::read(&path).is_ok_and(|there| there == bytes) {
            files::write(&path, bytes)?;
        }
    }
    Ok(())
}

/// A temporary folder with the folders `agoge-demo` and `data`, the same one for every process of this version.
fn unpacked() -> Result<PathBuf> {
    let mut hasher = blake3::Hasher::new();
    for part in [CONFIG.as_bytes(), WEIGHTS, TOKENIZER.as_bytes(), TRAIN.as_bytes(), VALID.as_bytes()] {
        hasher.update(part);
    }
    let shared = storage::temporary().join(format!("agoge-{}", &hasher.finalize().to_hex()[..16]));
    if write(&shared.join(NAME), &shared.join("data")).is_ok() {
        return Ok(shared);
    }
    // Another user's files are in the way.
    let own = storage::temporary_folder();
    let own = own.map_err(|e| Error::file("create a folder in", &storage::temporary(), e))?;
    write(&own.join(NAME), &own.join("data"))?;
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_and_data_are_unpacked_whole() {
        assert!(is_embedded(Path::new("agoge-demo")) && !is_embedded(Path::new("./agoge-demo")));
        let found = data().expect("unpacked");
        assert_eq!(std::fs::read_to_string(found.join("valid.jsonl")).expect("rows"), VALID);
        let folder = tempfile::tempdir().expect("a folder");
        let valid = folder.path().join("data/valid.jsonl");
        for _ in 0..2 {
            write(&folder.path().join("model"), &folder.path().join("data")).expect("written");
            assert_eq!(std::fs::read_to_string(&valid).expect("rows"), VALID);
            std::fs::write(&valid, "damaged").expect("a file");
        }
        assert_eq!(std::fs::read(folder.path().join("model/model.safetensors")).expect("weights"), WEIGHTS);
    }
}
