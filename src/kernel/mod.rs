//! The host side of `shaders/`: one file a shader family, each operation with three implementations of one meaning.
//!
//! - WGSL, launched through Burn's wgpu backend (`Cube`);
//! - plain Rust on the slices of Burn's CPU backend (`Flex`), where the operation decides the speed;
//! - a *composed twin* in ordinary Burn operations, which runs on any backend: the oracle in tests.
//!
//! Nothing here knows what a model or a run is. Layouts are row-major; `T` tokens, `N` selected numbers.

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
pub use launch::forget_parameters;
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
pub use sparse_product::{Pattern, add_sparse_product};
pub use sparse_step::sparse_step;
pub use squared_norm::squared_norm;
pub use weight_gradient::weight_gradient;

/// Every shader as it is given to the driver, by name; a test validates each with naga. Shaders of one file have its name
/// and what tells them apart behind it.
pub fn shaders() -> impl Iterator<Item = (String, String)> {
    let whole = SHADERS.iter().chain(attention::SHADERS).chain(matrix::split::SHADERS);
    let whole = whole.map(|&(name, text)| (name.to_string(), launch::Text::from(text)));
    whole.chain(matrix::shaders::all()).map(|(name, text)| (name, [text.0, text.1].concat()))
}

const SHADERS: &[(&str, &str)] = &[
    ("masked_gather_direct", masked_gather::DIRECT),
    ("masked_gather_turned", masked_gather::TURNED),
    ("masked_gather_tiled", masked_gather::TILED),
    ("masked_gather_dots", masked_gather::DOTS),
    ("transpose", masked_gather::TRANSPOSE),
    ("transpose_block", masked_gather::TRANSPOSE_BLOCK),
    ("weight_gradient_block", weight_gradient::BLOCK),
    ("weight_gradient_tiled", weight_gradient::TILED),
    ("weight_gradient_tiled wide", weight_gradient::WIDE),
    ("weight_gradient_narrow right 1", weight_gradient::NARROW[0][0]),
    ("weight_gradient_narrow right 2", weight_gradient::NARROW[0][1]),
    ("weight_gradient_narrow right 4", weight_gradient::NARROW[0][2]),
    ("weight_gradient_narrow left 1", weight_gradient::NARROW[1][0]),
    ("weight_gradient_narrow left 2", weight_gradient::NARROW[1][1]),
    ("weight_gradient_narrow left 4", weight_gradient::NARROW[1][2]),
    ("weight_gradient_sum", weight_gradient::SUM),
    ("narrow_product across", narrow_product::ACROSS),
    ("narrow_product along", narrow_product::ALONG),
    ("pad", pad::SOURCE),
    ("embedding_gather", embedding_gather::SOURCE),
    ("sparse_step", sparse_step::SOURCE),
    ("sparse_step bf16", sparse_step::SOURCE_BF16),
    ("sparse_step f16", sparse_step::SOURCE_F16),
    ("dense_step", dense_step::SOURCE),
    ("sparse_product by rows", sparse_product::BY_ROWS),
    ("sparse_product by columns", sparse_product::BY_COLUMNS),
    ("scatter_write", scatter_write::SOURCE),
    ("scatter_write bf16", scatter_write::SOURCE_BF16),
    ("scatter_write f16", scatter_write::SOURCE_F16),
    ("squared_norm", squared_norm::ONE),
    ("squared_norms", squared_norm::FIVE),
    ("rope", rope::SOURCE),
    ("rms_norm", rms_norm::FORWARD),
    ("rms_norm_backward", rms_norm::BACKWARD),
    ("layer_norm", layer_norm::FORWARD),
    ("layer_norm_backward", layer_norm::BACKWARD),
    ("activate", activation::FORWARD),
    ("activate_backward", activation::BACKWARD),
    ("gated", gated::FORWARD),
    ("gated_backward", gated::BACKWARD),
    ("dropout", dropout::SOURCE),
    ("cross_entropy", cross_entropy::FORWARD),
    ("cross_entropy_backward", cross_entropy::BACKWARD),
];
