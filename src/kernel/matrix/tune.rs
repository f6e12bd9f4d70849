//! Measures which way to multiply is the fastest on an adapter, once, and keeps it in the user's cache folder.
//!
//! Another table may change results within rounding: a machine whose table was removed or whose driver is new measures
//! again. A run itself never meets a change.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::{
    Matrix, Variant,
    choice::{Shape, VARIANTS, forget, nearest, remember, remembered},
    shaders,
};
use crate::{
    Result,
    device::{ComputeDevice, is_cooperative, is_software},
    files,
    kernel::shader::Text,
    storage,
};

/// No call begins after this long; one takes far less than what is left of two seconds.
const BUDGET: Duration = Duration::from_millis(1200);
/// Matrices of fewer numbers take what the rule says: there is little to win.
const FEWEST: usize = 1 << 16;
/// Larger ones follow the most similar shape: measuring them would take too long. For software adapters and for others.
const MOST: [usize; 2] = [1 << 22, 1 << 24];
/// Tokens with which each class is measured, the most important first. Software adapters leave the first one out.
const TOKENS: [usize; 5] = [1024, 256, 1, 32, 4];
/// Calls that take less than this are measured several at a time: waiting for the device takes time as well.
const SHORT: f64 = 2e-3;
/// So many at a time.
const TOGETHER: usize = 8;

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

/// Makes the choice for the matrices of a model, each with whether it is stored transposed: from the table of the adapter,
/// and where it lacks them by measuring, within two seconds in all. On the CPU device there is nothing to choose, and
/// browsers follow the rule. A device that has only sizes takes what the adapter that it imitates takes by now, and measures
/// nothing.
pub fn prepare(device: &ComputeDevice, matrices: &[(&Matrix, bool)]) {
    if device.is_cpu() {
        return;
    }
    let budget = if device.has_values() {
        BUDGET
    } else {
        forget(&device.handle);
        Duration::ZERO
    };
    let wanted = shapes(matrices, is_software(&device.handle));
    let table = if wanted.is_empty() || cfg!(target_arch = "wasm32") {
        HashMap::new()
    } else {
        let file = folder().map(|folder| folder.join(file_name(device)));
        filled(device, &wanted, remembered(&device.handle), file.as_deref(), budget)
    };
    remember(&device.handle, table);
}

/// Whether shapes of so many numbers in the matrix are worth a measurement, and cheap enough for one.
fn is_measured(shape: &Shape, software: bool) -> bool {
    (FEWEST..=MOST[usize::from(!software)]).contains(&(shape.inner * shape.outer))
}

/// The shapes of all products with these matrices, the most work first, each with one of the matrices.
fn shapes<'a>(matrices: &[(&'a Matrix, bool)], software: bool) -> Vec<(Shape, &'a Matrix)> {
    let mut kinds: Vec<(&Matrix, bool, usize)> = Vec::new();
    for (matrix, transposed) in matrices {
        let ([rows, cols], packing) = (matrix.dims(), matrix.packing());
        let alike = |kind: &&mut (&Matrix, bool, usize)| {
            kind.0.dims() == [rows, cols] && kind.0.packing() == packing && kind.1 == *transposed
        };
        match kinds.iter_mut().find(alike) {
            Some(kind) => kind.2 += rows * cols,
            None => kinds.push((matrix, *transposed, rows * cols)),
        }
    }
    // Stable: of equal work, what the model has first.
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.2));
    let mut all = Vec::new();
    for tokens in TOKENS.into_iter().skip(usize::from(software)) {
        // Forward passes first; a model that only writes has no others.
        for backward in [false, true] {
            for (matrix, transposed, _) in &kinds {
                let along = *transposed == backward;
                let [rows, cols] = matrix.dims();
                let (inner, outer) = if along { (cols, rows) } else { (rows, cols) };
                let shape = Shape { packing: matrix.packing(), along, tokens, inner, outer };
                if is_measured(&shape, software) {
                    all.push((shape, *matrix));
                }
            }
        }
    }
    all
}

/// Choices for all wanted shapes: those made `before`, those that are stored, and newly measured ones, which are then stored
/// as well.
fn filled(
    device: &ComputeDevice,
    wanted: &[(Shape, &Matrix)],
    before: HashMap<Shape, Variant>,
    file: Option<&Path>,
    budget: Duration,
) -> HashMap<Shape, Variant> {
    let of = identity(device);
    let mut known = file.and_then(|file| stored(file, &of, &device.handle)).unwrap_or_default();
    known.extend(before);
    let missing: Vec<_> = wanted.iter().filter(|(shape, _)| !known.contains_key(&shape.class())).collect();
    if missing.is_empty() {
        return known;
    }
    let clock = Clock { started: Instant::now(), budget };
    // A GPU's driver keeps compiled shaders, so its next process measures what this one had no time for; a software adapter
    // would only spend as much again.
    let guesses_stay = is_software(&device.handle);
    let mut settled = HashMap::new();
    let mut measured = false;
    for (shape, matrix) in missing {
        // A device that fails here will fail, and say so, where it is needed.
        let fastest = fastest(device, *shape, matrix, &clock).ok().flatten();
        measured |= fastest.is_some();
        let variant = fastest
            .or_else(|| nearest(&known, shape.class(), &device.handle))
            .unwrap_or_else(|| shape.rule(&device.handle));
        known.insert(shape.class(), variant);
        if fastest.is_some() || guesses_stay {
            settled.insert(shape.class(), variant);
        }
    }
    // What was allocated for it goes back.
    device.handle.memory_cleanup();
    if let Some(file) = file.filter(|_| measured) {
        // Another process may have measured other shapes meanwhile.
        let mut table = stored(file, &of, &device.handle).unwrap_or_default();
        table.extend(settled);
        // A table that cannot be kept is measured again.
        let _ = store(file, &of, &table);
    }
    known
}

/// How long measuring may go on.
struct Clock {
    started: Instant,
    budget: Duration,
}

impl Clock {
    fn is_over(&self) -> bool {
        self.started.elapsed() >= self.budget
    }
}

/// The fastest way for a shape, measured on a matrix of it; `None` where the time was too short to try all.
fn fastest(device: &ComputeDevice, shape: Shape, matrix: &Matrix, clock: &Clock) -> Result<Option<Variant>> {
    if clock.is_over() {
        return Ok(None);
    }
    let x = Tensor::ones([shape.tokens, shape.inner], &device.handle);
    let mut best: Option<(f64, Variant)> = None;
    for variant in VARIANTS.into_iter().filter(|variant| shape.allows(*variant, &device.handle)) {
        // Not a way for many tokens: each of them would read the whole matrix.
        if variant == Variant::Rows && shape.tokens > 8 {
            continue;
        }
        let call = || matrix.product_by(x.clone(), shape.along, Some(variant));
        let Some(secs) = time(device, call, best.map(|best| best.0), clock)? else { return Ok(None) };
        if best.is_none_or(|(least, _)| secs < least) {
            best = Some((secs, variant));
        }
    }
    Ok(best.map(|(_, variant)| variant))
}

/// Seconds of one call: the shortest of three measurements after one to warm up, or of fewer where that is hopeless or time is short;
/// `None` where there was none for any.
fn time(
    device: &ComputeDevice,
    call: impl Fn() -> Tensor<2>,
    to_beat: Option<f64>,
    clock: &Clock,
) -> Result<Option<f64>> {
    let times = |calls: usize| {
        let started = Instant::now();
        (0..calls).for_each(|_| drop(call()));
        let done = device.handle.sync();
        done.map(|()| started.elapsed().as_secs_f64() / calls as f64)
            .map_err(|e| crate::Error::Device(format!("a measurement failed: {e:?}")))
    };
    times(1)?;
    let mut together = 1;
    let mut best: Option<f64> = None;
    for _ in 0..3 {
        let hopeless = best.zip(to_beat).is_some_and(|(best, least)| best > 2.0 * least);
        if hopeless || clock.is_over() {
            break;
        }
        let secs = times(together)?;
        together = if secs < SHORT { TOGETHER } else { 1 };
        best = Some(best.map_or(secs, |best| best.min(secs)));
    }
    Ok(best)
}

/// What a table must have been made for.
fn identity(device: &ComputeDevice) -> String {
    let facts = &device.facts;
    let mut texts = blake3::Hasher::new();
    for (_, Text(sums, behind)) in shaders::all() {
        texts.update(sums.as_bytes()).update(behind.as_bytes());
    }
    let cooperative = if is_cooperative(&device.handle) { " with cooperative matrices" } else { "" };
    let shaders = texts.finalize().to_hex();
    format!("{}{cooperative} | {} | {} | {}", facts.name, facts.backend, facts.driver, &shaders[..16])
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
fn stored(file: &Path, of: &str, device: &Device) -> Option<HashMap<Shape, Variant>> {
    let table: Table = serde_json::from_slice(&storage::read(file).ok()?).ok()?;
    let lines = table.lines.into_iter().filter(|line| line.shape.allows(line.variant, device));
    (table.of == of).then(|| lines.map(|line| (line.shape, line.variant)).collect())
}

fn store(file: &Path, of: &str, known: &HashMap<Shape, Variant>) -> Result<()> {
    let mut lines: Vec<Line> = known.iter().map(|(&shape, &variant)| Line { shape, variant }).collect();
    lines.sort_by_key(|line| format!("{:?}", line.shape));
    if let Some(folder) = file.parent() {
        storage::create_dir_all(folder).map_err(|e| crate::Error::file("create", folder, e))?;
    }
    files::write_json(file, &Table { of: of.to_owned(), lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu() -> ComputeDevice {
        crate::kernel::check_launches();
        pollster::block_on(crate::device::open(&crate::device::DeviceChoice::Gpu)).expect("an adapter")
    }

    #[test]
    fn tables_are_filled_kept_and_mended() {
        let device = gpu();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("below").join("table.json");
        let matrix = Matrix::Dense(device.floats(vec![0.5; 96 * 64], [96, 64]));
        let shape = |tokens| (Shape { packing: None, along: true, tokens, inner: 64, outer: 96 }, &matrix);
        let wanted = [shape(32), shape(1)];
        let first = filled(&device, &wanted, HashMap::new(), Some(&file), Duration::from_secs(60));
        assert_eq!(first.len(), 2);
        assert!(wanted.iter().all(|(shape, _)| shape.allows(first[&shape.class()], &device.handle)));
        assert_eq!(stored(&file, &identity(&device), &device.handle), Some(first.clone()));
        assert_eq!(stored(&file, "another adapter", &device.handle), None);
        // What is stored counts, whatever would be measured now.
        let changed: HashMap<Shape, Variant> = first.keys().map(|shape| (*shape, Variant::Tiled)).collect();
        store(&file, &identity(&device), &changed).expect("stored");
        assert_eq!(filled(&device, &wanted, HashMap::new(), Some(&file), Duration::from_secs(60)), changed);
        // What this process has chosen before counts even more.
        let before = HashMap::from([(shape(32).0.class(), Variant::Burn)]);
        let both = filled(&device, &wanted, before, Some(&file), Duration::from_secs(60));
        assert_eq!(both[&shape(32).0.class()], Variant::Burn);
        assert_eq!(both[&shape(1).0.class()], Variant::Tiled);
        std::fs::write(&file, "{ broken").expect("written");
        let again = filled(&device, &wanted, HashMap::new(), Some(&file), Duration::from_secs(60));
        assert_eq!(stored(&file, &identity(&device), &device.handle), Some(again));
    }

    #[test]
    fn without_time_the_rule_is_followed_and_nothing_is_kept() {
        let device = gpu();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("table.json");
        let matrix = Matrix::Dense(device.floats(vec![0.5; 64 * 64], [64, 64]));
        let shape = Shape { packing: None, along: false, tokens: 256, inner: 64, outer: 64 };
        let known = filled(&device, &[(shape, &matrix)], HashMap::new(), Some(&file), Duration::ZERO);
        assert_eq!(known[&shape.class()], shape.rule(&device.handle));
        assert!(!file.exists());
    }

    #[test]
    fn every_kind_of_product_is_wanted_once() {
        let device = ComputeDevice::cpu();
        let large = Matrix::Dense(device.floats(vec![0.0; 1 << 16], [128, 512]));
        let small = Matrix::Dense(device.floats(vec![0.0; 16], [4, 4]));
        let matrices = [(&large, false), (&small, false), (&large, false)];
        for (software, classes) in [(true, TOKENS.len() - 1), (false, TOKENS.len())] {
            let wanted = shapes(&matrices, software);
            assert_eq!(wanted.len(), 2 * classes);
            let tokens = if software { 256 } else { 1024 };
            assert_eq!(wanted[0].0, Shape { packing: None, along: true, tokens, inner: 512, outer: 128 });
            assert_eq!(wanted[1].0, Shape { packing: None, along: false, tokens, inner: 128, outer: 512 });
        }
    }
}
