//! The host side of `shaders/`: one file a shader family, each operation with three implementations of one meaning.
//!
//! - WGSL, launched through Burn's wgpu backend (`Cube`);
//! - plain Rust on the slices of Burn's CPU backend (`Flex`), where the operation decides the speed;
//! - a *composed twin* in ordinary Burn operations, which runs on any backend: the oracle in tests.
//!
//! Nothing here knows what a model or a run is. Layouts are row-major; `T` tokens, `N` selected numbers.

mod launch;
mod pending;
pub use pending::{Activation, AttentionMask, activate, attention_softmax, dropout, gated, layer_norm};

pub mod causal_softmax;
pub mod cross_entropy;
pub mod dense_step;
pub mod embedding_gather;
pub mod layers;
pub mod masked_gather;
pub mod rms_norm;
pub mod rope;
pub mod scatter_write;
pub mod sparse_step;
pub mod squared_norm;
pub mod swiglu;

mod adamw;
mod flex;

pub use adamw::AdamW;
pub use causal_softmax::{Causal, causal_softmax};
pub use cross_entropy::cross_entropy;
pub use dense_step::dense_step;
pub use embedding_gather::embedding_gather;
pub use layers::{sparse_embedding, sparse_linear, sparse_tensor};
pub use masked_gather::{Strategy, masked_gather};
pub use rms_norm::rms_norm;
pub use rope::rope;
pub use scatter_write::scatter_write;
pub use sparse_step::sparse_step;
pub use squared_norm::squared_norm;
pub use swiglu::swiglu;

/// Every shader as it is given to the driver, by name; a test validates each with naga.
pub const SHADERS: &[(&str, &str)] = &[
    ("masked_gather_direct", masked_gather::DIRECT),
    ("masked_gather_tiled", masked_gather::TILED),
    ("embedding_gather", embedding_gather::SOURCE),
    ("sparse_step", sparse_step::SOURCE),
    ("dense_step", dense_step::SOURCE),
    ("scatter_write", scatter_write::SOURCE),
    ("squared_norm", squared_norm::SOURCE),
    ("rope", rope::SOURCE),
    ("rms_norm", rms_norm::FORWARD),
    ("rms_norm_backward", rms_norm::BACKWARD),
    ("causal_softmax", causal_softmax::FORWARD),
    ("causal_softmax_backward", causal_softmax::BACKWARD),
    ("swiglu", swiglu::FORWARD),
    ("swiglu_backward", swiglu::BACKWARD),
    ("cross_entropy", cross_entropy::FORWARD),
    ("cross_entropy_backward", cross_entropy::BACKWARD),
];
