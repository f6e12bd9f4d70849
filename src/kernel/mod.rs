//! The host side of `shaders/`: one file a shader family, each operation with three implementations of one meaning.
//!
//! - WGSL, launched through Burn's wgpu backend (`Cube`);
//! - plain Rust on the slices of Burn's CPU backend (`Flex`), where the operation decides the speed;
//! - a *composed twin* in ordinary Burn operations, which runs on any backend: the oracle in tests.
//!
//! Nothing here knows what a model or a run is. Layouts are row-major; `T` tokens, `N` selected entries.

mod launch;

pub mod activation;
pub mod attention;
pub mod cross_entropy;
pub mod dense_step;
pub mod dropout;
pub mod embedding_gather;
pub mod gated;
pub mod layer_norm;
pub mod layers;
pub mod linear;
pub mod low_rank;
pub mod masked_gather;
pub mod matrix;
pub mod narrow_product;
pub mod pad;
pub mod rms_norm;
pub mod rope;
pub mod scatter_write;
pub mod sparse_product;
pub mod sparse_step;
pub mod squared_norm;
pub mod weight_gradient;

mod adamw;
mod flex;
mod product;
mod shader;
mod transpose;
mod vector;

pub use activation::{Activation, activate};
pub use adamw::AdamW;
pub use attention::{AttentionRule, attention};
pub use cross_entropy::cross_entropy;
pub use dense_step::dense_step;
pub use dropout::dropout;
pub use embedding_gather::embedding_gather;
pub use gated::gated;
pub use launch::{copies_before_writing, forget_parameters};
pub use layer_norm::layer_norm;
pub use layers::{sparse_embedding, sparse_linear, sparse_tensor};
pub use linear::linear;
pub use low_rank::low_rank;
pub use masked_gather::{Strategy, masked_gather};
pub use matrix::{Matrix, Packed, Packing};
pub use narrow_product::narrow_product;
pub use rms_norm::rms_norm;
pub use rope::rope;
pub use scatter_write::scatter_write;
pub use shader::Shader;
pub use sparse_product::{Pattern, add_sparse_product};
pub use sparse_step::sparse_step;
pub use squared_norm::squared_norm;
pub use weight_gradient::weight_gradient;

use shader::{Named, Text};

/// Every shader in every variant that may be launched. A build with debug assertions refuses to launch any other, so that no
/// variant is left out of the tests that read these.
pub fn shaders() -> impl Iterator<Item = Shader> {
    check_launches();
    texts().map(|(name, text)| {
        let cooperative = name.starts_with("matrix_cooperative");
        Shader { name, source: [text.0, text.1].concat(), cooperative }
    })
}

/// Has a build with debug assertions refuse shaders that [`shaders`] does not list, from now on; what was launched before is
/// looked at now. Whoever opens a device to compute on it calls this.
///
/// # Panics
/// Such a shader was launched before.
pub fn check_launches() {
    if cfg!(debug_assertions) {
        launch::allow_only(texts().map(|(_, text)| text));
    }
}

/// The text of every shader with its name.
fn texts() -> impl Iterator<Item = (String, Text)> {
    const MODULES: [Named; 19] = [
        activation::SHADERS,
        attention::SHADERS,
        cross_entropy::SHADERS,
        dense_step::SHADERS,
        dropout::SHADERS,
        embedding_gather::SHADERS,
        gated::SHADERS,
        layer_norm::SHADERS,
        masked_gather::SHADERS,
        matrix::split::SHADERS,
        narrow_product::SHADERS,
        pad::SHADERS,
        rms_norm::SHADERS,
        rope::SHADERS,
        scatter_write::SHADERS,
        sparse_product::SHADERS,
        sparse_step::SHADERS,
        squared_norm::SHADERS,
        weight_gradient::SHADERS,
    ];
    let whole = MODULES.into_iter().flatten().map(|&(name, text)| (name.to_string(), Text::from(text)));
    whole.chain(matrix::shaders::all())
}
