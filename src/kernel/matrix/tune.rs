//! Measures which way to multiply is the fastest on an adapter, once, and keeps it in the user's cache folder.
//!
//! Another table may change results within rounding: a machine whose table was removed or whose driver is new measures
//! again. A run itself never meets a change.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::{
    Matrix, Packed, Variant,
    choice::{Shape, VARIANTS, nearest, remember},
    shaders,
};
use crate::{Result, device::ComputeDevice, files};

/// No measurement begins after this long; one takes far less than what is left of two seconds.
const BUDGET: Duration = Duration::from_millis(1200);
/// Matrices of fewer numbers take what the rule says: there is little to win.
const FEWEST: usize = 1 << 16;
/// Tokens with which each class is measured, the most important first.
const TOKENS: [usize; 4] = [256, 1, 32, 4];

/// One line of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    shape: Shape,
    variant: Variant,
}

/// What is kept for one adapter.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Table {
    /// Name and driver of the adapter, and the identity of the shaders: another one's table says nothing.
    of: String,
    lines: Vec<Line>,
}

/// Makes the choice for the matrices of a model, `(matrix, how many of its kind)`: from the table of the adapter, and
/// where it lacks them by measuring, within two seconds in all. On the CPU device and in browsers there is nothing to do.
pub fn prepare(device: &ComputeDevice, matrices: &[(&Matrix, bool, usize)]) {
    if device.is_cpu() || cfg!(target_arch = "wasm32") {
        return;
    }
    let wanted = shapes(matrices);
    if !wanted.is_empty() {
        let file = folder().map(|folder| folder.join(file_name(device)));
        let table = filled(device, &wanted, file.as_deref(), BUDGET);
        remember(&device.handle, table);
    }
}

/// The shapes of all products with these matrices, the most work first.
fn shapes(matrices: &[(&Matrix, bool, usize)]) -> Vec<Shape> {
    let mut work: HashMap<(Option<super::Packing>, [usize; 2], bool), usize> = HashMap::new();
    for (matrix, transposed, count) in matrices {
        let dims = matrix.dims();
        if dims[0] * dims[1] >= FEWEST {
            *work.entry((matrix.packing(), dims, *transposed)).or_default() += count * dims[0] * dims[1];
        }
    }
    let mut kinds: Vec<_> = work.into_iter().collect();
    kinds.sort_by_key(|((packing, dims, _), work)| (std::cmp::Reverse(*work), *dims, format!("{packing:?}")));
    let mut all = Vec::new();
    for tokens in TOKENS {
        // Forward passes first; a model that only writes has no others.
        for backward in [false, true] {
            for ((packing, [rows, cols], transposed), _) in &kinds {
                let along = *transposed == backward;
                let (inner, outer) = if along { (*cols, *rows) } else { (*rows, *cols) };
                all.push(Shape { packing: *packing, along, tokens, inner, outer });
            }
        }
    }
    all
}

/// Choices for all wanted shapes: those that are stored, and newly measured ones, which are then stored as well.
fn filled(
    device: &ComputeDevice,
    wanted: &[Shape],
    file: Option<&Path>,
    budget: Duration,
) -> HashMap<Shape, Variant> {
    let of = identity(device);
    let mut known = file.and_then(|file| stored(file, &of)).unwrap_or_default();
    let missing: Vec<Shape> = wanted.iter().filter(|shape| !known.contains_key(&shape.class())).copied().collect();
    if missing.is_empty() {
        return known;
    }
    let (started, mut measured) = (Instant::now(), 0);
    for shape in &missing {
        // A device that fails here will fail, and say so, where it is needed.
        let fastest = (started.elapsed() < budget).then(|| fastest(device, *shape).ok().flatten()).flatten();
        measured += usize::from(fastest.is_some());
        let variant = fastest.or_else(|| nearest(&known, shape.class())).unwrap_or_else(|| shape.rule());
        known.insert(shape.class(), variant);
    }
    if let Some(file) = file.filter(|_| measured > 0) {
        // A table that cannot be kept is measured again.
        let _ = store(file, &of, &known);
    }
    known
}

/// The fastest way for a shape; `None` where there is only one.
fn fastest(device: &ComputeDevice, shape: Shape) -> Result<Option<Variant>> {
    let allowed: Vec<Variant> = VARIANTS.into_iter().filter(|variant| shape.allows(*variant)).collect();
    let dims = if shape.along { [shape.outer, shape.inner] } else { [shape.inner, shape.outer] };
    let matrix = match shape.packing {
        None => Matrix::Dense(Tensor::ones(dims, &device.handle)),
        Some(packing) => Matrix::Packed(Packed::zeros(packing, dims, &device.handle)),
    };
    let x = Tensor::ones([shape.tokens, shape.inner], &device.handle);
    let mut best: Option<(f64, Variant)> = None;
    for variant in allowed {
        // Not a way for many tokens: each of them would read the whole matrix.
        if variant == Variant::Rows && shape.tokens > 8 {
            continue;
        }
        let secs = time(device, || matrix.product_by(x.clone(), shape.along, Some(variant)), best.map(|best| best.0))?;
        if best.is_none_or(|(least, _)| secs < least) {
            best = Some((secs, variant));
        }
    }
    Ok(best.map(|(_, variant)| variant))
}

/// Seconds of one call: the shortest of three after one to warm up, or of the first where that is hopeless.
fn time(device: &ComputeDevice, call: impl Fn() -> Tensor<2>, to_beat: Option<f64>) -> Result<f64> {
    let once = || {
        let started = Instant::now();
        let result = call();
        let done = device.handle.sync();
        drop(result);
        done.map(|()| started.elapsed().as_secs_f64())
            .map_err(|e| crate::Error::Device(format!("a measurement failed: {e:?}")))
    };
    once()?;
    let mut best = once()?;
    for _ in 0..2 {
        if to_beat.is_some_and(|least| best > 2.0 * least) {
            break;
        }
        best = best.min(once()?);
    }
    Ok(best)
}

/// What a table must have been made for.
fn identity(device: &ComputeDevice) -> String {
    let facts = &device.facts;
    let mut texts = blake3::Hasher::new();
    for (_, text) in shaders::SHADERS.into_iter().flatten() {
        texts.update(text.as_bytes());
    }
    format!("{} | {} | {} | {}", facts.name, facts.backend, facts.driver, &texts.finalize().to_hex()[..16])
}

fn file_name(device: &ComputeDevice) -> String {
    let facts = &device.facts;
    let hash = blake3::hash(format!("{}\n{}", facts.name, facts.backend).as_bytes()).to_hex();
    format!("matrix-{}.json", &hash[..16])
}

/// agoge's folder in the user's cache; `None` where the user has none.
fn folder() -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = given("XDG_CACHE_HOME").or_else(|| match std::env::consts::OS {
        "windows" => given("LOCALAPPDATA"),
        "macos" => Some(std::env::home_dir()?.join("Library/Caches")),
        _ => Some(std::env::home_dir()?.join(".cache")),
    });
    cache.map(|cache| cache.join("agoge"))
}

/// The choices of a file; `None` where there is none, where it is broken, or where it is that of something else.
fn stored(file: &Path, of: &str) -> Option<HashMap<Shape, Variant>> {
    let table: Table = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let lines = table.lines.into_iter().filter(|line| line.shape.allows(line.variant));
    (table.of == of).then(|| lines.map(|line| (line.shape, line.variant)).collect())
}

fn store(file: &Path, of: &str, known: &HashMap<Shape, Variant>) -> Result<()> {
    let mut lines: Vec<Line> = known.iter().map(|(&shape, &variant)| Line { shape, variant }).collect();
    lines.sort_by_key(|line| format!("{:?}", line.shape));
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|e| crate::Error::file("create", folder, e))?;
    }
    files::write_json(file, &Table { of: of.to_owned(), lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu() -> ComputeDevice {
        pollster::block_on(crate::device::open(&crate::device::DeviceChoice::Gpu)).expect("an adapter")
    }

    #[test]
    fn tables_are_filled_kept_and_mended() {
        let device = gpu();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("below").join("table.json");
        let shape = |tokens| Shape { packing: None, along: true, tokens, inner: 64, outer: 96 };
        let wanted = [shape(32), shape(1)];
        let first = filled(&device, &wanted, Some(&file), Duration::from_secs(60));
        assert_eq!(first.len(), 2);
        assert!(wanted.iter().all(|shape| shape.allows(first[&shape.class()])));
        assert_eq!(stored(&file, &identity(&device)), Some(first.clone()));
        assert_eq!(stored(&file, "another adapter"), None);
        // What is stored counts, whatever would be measured now.
        let turned: HashMap<Shape, Variant> = first.keys().map(|shape| (*shape, Variant::Tiled)).collect();
        store(&file, &identity(&device), &turned).expect("stored");
        assert_eq!(filled(&device, &wanted, Some(&file), Duration::from_secs(60)), turned);
        std::fs::write(&file, "{ broken").expect("written");
        let again = filled(&device, &wanted, Some(&file), Duration::from_secs(60));
        assert_eq!(stored(&file, &identity(&device)), Some(again));
    }

    #[test]
    fn without_time_the_rule_is_followed_and_nothing_is_kept() {
        let device = gpu();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("table.json");
        let wanted = [Shape { packing: None, along: false, tokens: 256, inner: 64, outer: 64 }];
        let known = filled(&device, &wanted, Some(&file), Duration::ZERO);
        assert_eq!(known[&wanted[0].class()], wanted[0].rule());
        assert!(!file.exists());
    }

    #[test]
    fn every_kind_of_product_is_wanted_once() {
        let device = ComputeDevice::cpu();
        let large = Matrix::Dense(device.floats(vec![0.0; 1 << 16], [128, 512]));
        let small = Matrix::Dense(device.floats(vec![0.0; 16], [4, 4]));
        let wanted = shapes(&[(&large, false, 3), (&small, false, 9), (&large, false, 1)]);
        assert_eq!(wanted.len(), 2 * TOKENS.len());
        assert_eq!(wanted[0], Shape { packing: None, along: true, tokens: 256, inner: 512, outer: 128 });
        assert_eq!(wanted[1], Shape { packing: None, along: false, tokens: 256, inner: 128, outer: 512 });
    }
}
