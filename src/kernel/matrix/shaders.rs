//! The shaders of every way to multiply by a frozen matrix.

use super::{Packing, choice::Variant};
use crate::kernel::shader::Text;

/// A product's shader for one storage type, along or across the rows of the matrix, with what it needs of shaders/shared.
macro_rules! product {
    ($file:literal, $along:literal, $ragged:literal, $($shared:literal),+) => {
        concat!("alias Four = vec4<f32>;\n", product!(body $file, $along, $ragged, $($shared),+))
    };
    (body $file:literal, $along:literal, $ragged:literal, $($shared:literal),+) => {
        concat!(
            "const ALONG_ROWS: bool = ", $along, ";\nconst RAGGED: bool = ", $ragged, ";\n",
            include_str!("../../../shaders/shared/grid.wgsl"),
            include_str!("../../../shaders/shared/matrix.wgsl"),
            $(include_str!(concat!("../../../shaders/shared/", $shared, ".wgsl")),)+
            include_str!(concat!("../../../shaders/", $file, ".wgsl"))
        )
    };
}

/// Every storage type of one shader file: f32, then bf16 and f16 with even and with ragged rows, then q8 and q4.
macro_rules! storages {
    ($file:literal, $along:literal $(, $shared:literal)*) => {
        [
            product!($file, $along, "false", "weights_f32" $(, $shared)*),
            product!($file, $along, "false", "weights_bf16", "weights_halves" $(, $shared)*),
            product!($file, $along, "true", "weights_bf16", "weights_halves" $(, $shared)*),
            product!($file, $along, "false", "weights_f16", "weights_halves" $(, $shared)*),
            product!($file, $along, "true", "weights_f16", "weights_halves" $(, $shared)*),
            product!($file, $along, "false", "weights_quantized", "weights_q8" $(, $shared)*),
            product!($file, $along, "false", "weights_quantized", "weights_q4" $(, $shared)*),
        ]
    };
}

/// The same of a file that goes by tiles, both directions.
macro_rules! tiles {
    ($file:literal) => {
        [
            storages!($file, "false", "matrix_tile", "matrix_lanes"),
            storages!($file, "true", "matrix_tile", "matrix_lanes"),
        ]
    };
}

/// The product by cooperative matrices for 16-bit numbers whose rows are whole fours: bf16, then f16.
macro_rules! cooperative {
    ($along:literal) => {
        [cooperative!($along, "weights_bf16"), cooperative!($along, "weights_f16")]
    };
    ($along:literal, $weights:literal) => {
        concat!(
            "enable f16;\nenable wgpu_cooperative_matrix;\nalias Four = vec4<f16>;\n",
            product!(body "matrix_cooperative", $along, "false", $weights, "weights_halves", "matrix_tile")
        )
    };
}

/// By direction (across, along).
const COOPERATIVE: [[&str; 2]; 2] = [cooperative!("false"), cooperative!("true")];

/// What prepares the activations for it.
pub(super) const SPLIT: &str = include_str!("../../../shaders/matrix_split.wgsl");

/// The texts of one file by direction (across, along) and storage type.
type Texts = [[&'static str; 7]; 2];

const BLOCK: Texts = [storages!("matrix_block", "false"), storages!("matrix_block", "true")];
const TILED: Texts = tiles!("matrix_tiled");
const WIDE: Texts = tiles!("matrix_wide");
const ROWS: Texts = [storages!("matrix_rows", "false"), storages!("matrix_rows", "true")];

/// Rows of any packed matrix as f32.
macro_rules! unpack {
    ($quantized:literal, $($weights:literal),+) => {
        concat!(
            "const RAGGED: bool = true;\nconst QUANTIZED: u32 = ", $quantized, ";\n",
            $(include_str!(concat!("../../../shaders/shared/", $weights, ".wgsl")),)+
            include_str!("../../../shaders/matrix_unpack.wgsl")
        )
    };
}

const UNPACK: [&str; 4] = [
    unpack!("0u", "weights_bf16", "weights_halves"),
    unpack!("0u", "weights_f16", "weights_halves"),
    unpack!("1u", "weights_quantized", "weights_q8"),
    unpack!("1u", "weights_quantized", "weights_q4"),
];

/// What stands behind a product's shader: whether something is added to its sums.
const PLUS: [&str; 2] =
    [include_str!("../../../shaders/shared/plus_nothing.wgsl"), include_str!("../../../shaders/shared/plus_rows.wgsl")];

/// The shader of a product, to which something is added or not.
pub(super) fn product(variant: Variant, packing: Option<Packing>, along: bool, ragged: bool, adding: bool) -> Text {
    Text(sums(variant, packing, along, ragged), PLUS[usize::from(adding)])
}

/// Its first part. In f32 and in quantized matrices rows are never ragged.
fn sums(variant: Variant, packing: Option<Packing>, along: bool, ragged: bool) -> &'static str {
    let texts = match variant {
        Variant::Rows => &ROWS,
        Variant::Wide => &WIDE,
        Variant::Cooperative => return COOPERATIVE[usize::from(along)][usize::from(packing == Some(Packing::F16))],
        Variant::Tiled => &TILED,
        Variant::Block | Variant::Burn => &BLOCK,
    };
    let storage = match packing {
        None => 0,
        Some(Packing::Bf16) => 1 + usize::from(ragged),
        Some(Packing::F16) => 3 + usize::from(ragged),
        Some(Packing::Q8) => 5,
        Some(Packing::Q4) => 6,
    };
    texts[usize::from(along)][storage]
}

/// The shader that unpacks.
pub(super) fn unpack(packing: Packing) -> &'static str {
    match packing {
        Packing::Bf16 => UNPACK[0],
        Packing::F16 => UNPACK[1],
        Packing::Q8 => UNPACK[2],
        Packing::Q4 => UNPACK[3],
    }
}

/// Names for every shader of a file.
macro_rules! named {
    ($name:literal, $texts:ident) => {
        [
            ($name, $texts[0][0]),
            (concat!($name, " across bf16"), $texts[0][1]),
            (concat!($name, " across bf16 ragged"), $texts[0][2]),
            (concat!($name, " across f16"), $texts[0][3]),
            (concat!($name, " across f16 ragged"), $texts[0][4]),
            (concat!($name, " across q8"), $texts[0][5]),
            (concat!($name, " across q4"), $texts[0][6]),
            (concat!($name, " along f32"), $texts[1][0]),
            (concat!($name, " along bf16"), $texts[1][1]),
            (concat!($name, " along bf16 ragged"), $texts[1][2]),
            (concat!($name, " along f16"), $texts[1][3]),
            (concat!($name, " along f16 ragged"), $texts[1][4]),
            (concat!($name, " along q8"), $texts[1][5]),
            (concat!($name, " along q4"), $texts[1][6]),
        ]
    };
}

/// The first part of every product's shader with its name; those of one file have what tells them apart behind it.
const PRODUCTS: [&[(&str, &str)]; 5] = [
    &named!("matrix_block", BLOCK),
    &named!("matrix_tiled", TILED),
    &named!("matrix_wide", WIDE),
    &named!("matrix_rows", ROWS),
    &[
        ("matrix_cooperative across bf16", COOPERATIVE[0][0]),
        ("matrix_cooperative across f16", COOPERATIVE[0][1]),
        ("matrix_cooperative along bf16", COOPERATIVE[1][0]),
        ("matrix_cooperative along f16", COOPERATIVE[1][1]),
    ],
];

const OTHERS: [(&str, &str); 5] = [
    ("matrix_split", SPLIT),
    ("matrix_unpack", UNPACK[0]),
    ("matrix_unpack f16", UNPACK[1]),
    ("matrix_unpack q8", UNPACK[2]),
    ("matrix_unpack q4", UNPACK[3]),
];

/// Every shader with its name.
pub(in crate::kernel) fn all() -> impl Iterator<Item = (String, Text)> {
    let products = PRODUCTS.into_iter().flatten().flat_map(|&(name, text)| {
        ["", " plus"].into_iter().zip(PLUS).map(move |(plus, behind)| (format!("{name}{plus}"), Text(text, behind)))
    });
    products.chain(OTHERS.map(|(name, text)| (name.into(), text.into())))
}
