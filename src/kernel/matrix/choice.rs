//! Which way to multiply is taken for which shape: what measured best on the adapter (`tune`), else a rule.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::Packing;
use crate::device::{is_cooperative, is_software};

/// A way to compute a product with a frozen matrix; the result is the same up to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Burn's own product, of matrices in f32.
    Burn,
    /// Blocks in registers, read straight from memory.
    Block,
    /// Tiles of 64 by 64 in workgroup memory.
    Tiled,
    /// Tiles of 128 by 128 in workgroup memory.
    Wide,
    /// Cooperative matrices, of numbers in 16 bits.
    Cooperative,
    /// A workgroup for a few outer numbers of one token.
    Rows,
}

/// Every way.
pub const VARIANTS: [Variant; 6] =
    [Variant::Burn, Variant::Block, Variant::Tiled, Variant::Wide, Variant::Cooperative, Variant::Rows];

/// Tokens, rows and columns from which a product keeps a GPU busy with tiles of 128 by 128.
const LARGE: usize = 512;

/// Numbers of tokens between which the choice does not change: up to so many.
const CLASSES: [usize; 5] = [1, 8, 64, 512, usize::MAX];

/// What the choice depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// How the matrix is stored; `None` is f32.
    pub packing: Option<Packing>,
    /// Whether the product goes along the rows of the matrix (`x W^T`) or across them (`x W`).
    pub along: bool,
    /// Rows of the product.
    pub tokens: usize,
    /// Numbers that are summed up for each number of the product.
    pub inner: usize,
    /// Columns of the product.
    pub outer: usize,
}

impl Shape {
    /// Numbers in a row of the matrix.
    pub(super) fn width(&self) -> usize {
        if self.along { self.inner } else { self.outer }
    }

    /// Whether the rows of the matrix are not whole fours.
    pub(super) fn ragged(&self) -> bool {
        !self.width().is_multiple_of(4)
    }

    /// Whether the variant can compute it on a device.
    pub fn allows(&self, variant: Variant, device: &Device) -> bool {
        match variant {
            Variant::Burn => self.packing.is_none(),
            Variant::Cooperative => {
                matches!(self.packing, Some(Packing::Bf16 | Packing::F16)) && !self.ragged() && is_cooperative(device)
            }
            _ => self.packing.is_some() || !self.ragged(),
        }
    }

    /// What is taken where nothing was measured: as `agoge bench matmul` found it on lavapipe for software adapters and on an
    /// NVIDIA H100 for hardware, whose caches are no substitute for workgroup memory.
    pub fn rule(&self, device: &Device) -> Variant {
        let software = is_software(device);
        let few = if software { 1 } else { 8 };
        let many = self.tokens > LARGE && self.inner * self.outer >= LARGE * LARGE;
        let wanted = match (self.tokens <= few, software, many) {
            (true, ..) => Variant::Rows,
            (false, true, _) => Variant::Block,
            (false, false, true) if self.allows(Variant::Cooperative, device) => Variant::Cooperative,
            (false, false, true) => Variant::Wide,
            (false, false, false) => Variant::Tiled,
        };
        if self.allows(wanted, device) { wanted } else { Variant::Burn }
    }

    /// The shape that stands for all of its class.
    pub(super) fn class(self) -> Self {
        let class = CLASSES.iter().find(|most| self.tokens <= **most).copied().unwrap_or(usize::MAX);
        Self { tokens: class, ..self }
    }

    /// What is taken on a device. It does not change until another model is opened, and for a shape that was used before
    /// not even then.
    pub fn choose(self, device: &Device) -> Variant {
        let cell = self.class();
        let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
        let of_device = known.iter().find(|known| known.device == *device);
        if let Some(variant) = of_device.and_then(|known| known.cells.get(&cell)) {
            return *variant;
        }
        let like = of_device.and_then(|known| followed(&known.cells, cell, device));
        let variant = like.unwrap_or_else(|| self.rule(device));
        drop(known);
        remember(device, [(cell, variant)]);
        variant
    }
}

/// What is known of a device.
struct Known {
    device: Device,
    /// Choices by class.
    cells: HashMap<Shape, Variant>,
}

static KNOWN: RwLock<Vec<Known>> = RwLock::new(Vec::new());

/// What is taken for a shape that was not measured, from those that were; `None` where they say nothing.
fn followed(cells: &HashMap<Shape, Variant>, cell: Shape, device: &Device) -> Option<Variant> {
    // What was measured for fewer tokens says more than the rule, if they were many.
    let fewer = Shape { tokens: CLASSES[CLASSES.len() - 2], ..cell };
    let of_fewer = || nearest(cells, fewer, device).filter(|_| cell.tokens > fewer.tokens);
    nearest(cells, cell, device).or_else(of_fewer)
}

/// What the shape most like `wanted` takes, among those of its class, direction and storage.
pub(super) fn nearest(cells: &HashMap<Shape, Variant>, wanted: Shape, device: &Device) -> Option<Variant> {
    let distance = |cell: &Shape| {
        let ratio = |a: usize, b: usize| (a.max(1) as f64 / b.max(1) as f64).ln().abs();
        ratio(cell.inner, wanted.inner) + ratio(cell.outer, wanted.outer)
    };
    let alike = |cell: &Shape| Shape { inner: wanted.inner, outer: wanted.outer, ..*cell } == wanted;
    let candidates = cells.iter().filter(|(cell, variant)| alike(cell) && wanted.allows(**variant, device));
    // Equal distances are decided by size, so that the order of a map does not matter.
    let order = |cell: &Shape| (cell.inner, cell.outer);
    candidates
        .min_by(|(a, _), (b, _)| distance(a).total_cmp(&distance(b)).then(order(a).cmp(&order(b))))
        .map(|(_, variant)| *variant)
}

/// Everything that was chosen for a device so far.
pub(super) fn remembered(device: &Device) -> HashMap<Shape, Variant> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    known.iter().find(|known| known.device == *device).map_or_else(HashMap::new, |known| known.cells.clone())
}

/// Forgets what was chosen for a device.
pub(super) fn forget(device: &Device) {
    KNOWN.write().unwrap_or_else(PoisonError::into_inner).retain(|known| known.device != *device);
}

/// Keeps choices for a device; those that were made before stay.
pub(super) fn remember(device: &Device, choices: impl IntoIterator<Item = (Shape, Variant)>) {
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    let at = known.iter().position(|known| known.device == *device).unwrap_or_else(|| {
        known.push(Known { device: device.clone(), cells: HashMap::new() });
        known.len() - 1
    });
    for (cell, variant) in choices {
        known[at].cells.entry(cell).or_insert(variant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{ComputeDevice, DeviceChoice, open};

    fn gpu() -> ComputeDevice {
        pollster::block_on(open(&DeviceChoice::Gpu)).expect("an adapter")
    }

    fn shape(packing: Option<Packing>, tokens: usize, inner: usize, outer: usize) -> Shape {
        Shape { packing, along: true, tokens, inner, outer }
    }

    #[test]
    fn the_nearest_shape_of_the_same_kind_is_followed() {
        let cells = HashMap::from([
            (shape(None, 500, 64, 64).class(), Variant::Block),
            (shape(None, 500, 1024, 1024).class(), Variant::Burn),
            (shape(Some(Packing::Bf16), 500, 512, 512).class(), Variant::Tiled),
            (shape(None, 1, 512, 512).class(), Variant::Rows),
        ]);
        let device = ComputeDevice::cpu().handle;
        let like = |wanted: Shape| followed(&cells, wanted.class(), &device);
        assert_eq!(like(shape(None, 100, 768, 768)), Some(Variant::Burn));
        assert_eq!(like(shape(None, 100, 96, 64)), Some(Variant::Block));
        assert_eq!(like(shape(Some(Packing::Bf16), 9999, 1, 1)), Some(Variant::Tiled));
        assert_eq!(like(shape(Some(Packing::Q4), 500, 512, 512)), None);
        assert_eq!(like(shape(None, 20, 512, 512)), None);
    }

    #[test]
    fn the_rule_allows_what_it_takes() {
        for packing in [None, Some(Packing::F16)] {
            for (tokens, inner) in [(1, 5), (1, 8), (100, 5), (100, 8)] {
                let shape = shape(packing, tokens, inner, 7);
                for device in [ComputeDevice::cpu().handle, gpu().handle] {
                    assert!(shape.allows(shape.rule(&device), &device), "{shape:?}");
                }
            }
        }
    }
}
