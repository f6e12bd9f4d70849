//! Transformers: their description, their forward pass, weights in and out. Knows no training.
//!
//! In reading order: [`architecture`] says what a model looks like, [`family`] how each family says it in `config.json`
//! (read by [`fields`]; [`names`] is what a checkpoint calls its tensors); [`parameter`] is one named tensor with at most one
//! adaptation; [`transformer`] is the forward pass; [`weights`] reads safetensors;
//! [`classifier`] starts a classification head; [`pretrained`] puts a Hugging Face folder together; [`save`] writes one,
//! [`gguf`] one file for llama.cpp.

pub mod architecture;
pub mod attention;
pub mod block;
pub mod classifier;
pub mod embeddings;
pub mod family;
pub mod fields;
pub mod fingerprint;
pub mod gguf;
pub mod head;
mod ignored;
pub mod linear;
pub mod names;
pub mod parameter;
pub mod pretrained;
pub mod qk_norm;
pub mod rope;
pub mod save;
pub mod transformer;
pub mod weights;
mod without_values;

pub use architecture::Architecture;
pub use parameter::{Adaptation, LinearCall, Parameter, Role};
pub use pretrained::Pretrained;
pub use transformer::Transformer;
pub use weights::Keeping;
