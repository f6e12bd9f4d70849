//! The identity of a base model, by which an adapter recognises it.

use super::weights::Weights;
use crate::Result;

/// BLAKE3 over every tensor's name, type, shape and bytes in order of names, as 64 hexadecimal digits. How the tensors
/// are spread over files does not matter.
///
/// # Errors
/// A file that can no longer be read.
pub fn of(weights: &Weights) -> Result<String> {
    let mut hasher = blake3::Hasher::new_derive_key("agoge base model fingerprint v1");
    for name in weights.names() {
        let (dtype, dims) = (weights.dtype(name), weights.dims(name).unwrap_or_default());
        hasher.update(format!("{name}\n{dtype:?}\n{dims:?}\n").as_bytes());
        hasher.update(&weights.bytes(name)?);
    }
    Ok(hasher.finalize().to_hex().to_string())
}
