//! Launching a WGSL file through Burn's wgpu backend.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Device, Shape, Slice};
use burn_cubecl::{
    CubeBackend, CubeDevice,
    kernel::into_contiguous,
    template::{KernelSource, SourceKernel, SourceTemplate},
    tensor::CubeTensor,
};
use cubecl::{
    prelude::*,
    server::{Handle, KernelArguments},
};

use super::shader::Text;

/// The largest number of workgroups in one dimension that every WebGPU device accepts.
const MAX_GROUPS: u32 = 65_535;

/// One WGSL program. Its identity is a hash of its text, because compilation caches never see the text itself.
#[derive(Clone, Copy, Debug)]
struct Wgsl {
    text: Text,
    hash: u64,
}

impl KernelSource for Wgsl {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new([self.text.0, self.text.1].concat())
    }

    /// Checked mode would have each loop count its rounds, as a guard against one that never ends, and so keep drivers from
    /// unrolling it; ours end by their sizes. Accesses are not checked in either mode.
    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(self.hash).mode(ExecutionMode::Unchecked)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// Parameters that one generation of the cache holds at most.
const MOST_KEPT: usize = 512;

/// Where parameters are, and what they are.
type Key = (CubeDevice, Vec<u8>);

thread_local! {
    /// Buffers of parameters that were uploaded lately, and those of the time before.
    static UPLOADED: RefCell<[HashMap<Key, Handle>; 2]> = RefCell::default();
    /// Hashes of shaders, by the addresses of their text.
    static HASHES: RefCell<HashMap<[usize; 2], u64>> = RefCell::default();
    /// Copies that [`in_place`] has made.
    static COPIES: Cell<usize> = const { Cell::new(0) };
}

/// A buffer with these parameters. Most launches of a step have those of the step before, and an upload is dear: it hands in
/// everything that is queued, and every sixty-fourth one waits for the device.
fn uploaded(like: &CubeTensor, parameters: &[u8]) -> Handle {
    let key = (like.device.clone(), parameters.to_vec());
    UPLOADED.with_borrow_mut(|[lately, before]| {
        if let Some(handle) = lately.get(&key) {
            return handle.clone();
        }
        if lately.len() >= MOST_KEPT {
            *before = std::mem::take(lately);
        }
        let handle = before.remove(&key).unwrap_or_else(|| like.client.create_from_slice(parameters));
        lately.insert(key, handle.clone());
        handle
    })
}

/// Gives the parameters back that this thread has uploaded to a device.
pub fn forget_parameters(device: &Device) {
    UPLOADED.with_borrow_mut(|generations| {
        generations.iter_mut().for_each(|kept| kept.retain(|(of, _), _| Device::from(of.clone()) != *device));
    });
}

fn hash_of(text: Text) -> u64 {
    let address = [text.0, text.1].map(|part| part.as_ptr() as usize);
    HASHES.with_borrow_mut(|hashes| {
        *hashes.entry(address).or_insert_with(|| {
            debug_assert!(
                allowed().admits(text),
                "a shader is launched that kernel::shaders() does not list:\n{text:?}"
            );
            hash_of_text(text)
        })
    })
}

fn hash_of_text(text: Text) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(text.0.as_bytes()).update(text.1.as_bytes());
    u64::from_le_bytes(hasher.finalize().as_bytes()[..8].try_into().expect("32 bytes"))
}

/// The shaders that may be launched, once somebody has said so, and until then those that were.
static ALLOWED: Mutex<Allowed> = Mutex::new(Allowed::All { launched: Vec::new() });

enum Allowed {
    All { launched: Vec<Text> },
    Only(HashSet<u64>),
}

impl Allowed {
    /// Whether a shader may be launched; before there is a list it may, and is kept in mind.
    fn admits(&mut self, text: Text) -> bool {
        match self {
            Self::All { launched } => {
                launched.push(text);
                true
            }
            Self::Only(listed) => listed.contains(&hash_of_text(text)),
        }
    }

    /// Admits those `listed` and no other. Returns one that was launched before and is none of them. The first list counts.
    fn list(&mut self, listed: impl Iterator<Item = Text>) -> Option<Text> {
        let Self::All { launched } = self else { return None };
        let launched = std::mem::take(launched);
        *self = Self::Only(listed.map(hash_of_text).collect());
        launched.into_iter().find(|&text| !self.admits(text))
    }
}

fn allowed() -> MutexGuard<'static, Allowed> {
    ALLOWED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refuses all shaders but those `listed`, which the tests see.
///
/// # Panics
/// Another one was launched before.
pub(super) fn allow_only(listed: impl Iterator<Item = Text>) {
    let unlisted = allowed().list(listed);
    assert!(unlisted.is_none(), "a shader was launched that kernel::shaders() does not list:\n{unlisted:?}");
}

/// Queues `text` (entry point `main`) with `buffers` at bindings 0, 1, ... of group 0, and `parameters` at the next one.
///
/// # Panics
/// A dimension has more workgroups than every WebGPU device accepts.
pub(super) fn launch(
    like: &CubeTensor,
    text: impl Into<Text>,
    workgroup: u32,
    groups: (u32, u32),
    buffers: &[&Handle],
    parameters: &[u8],
) {
    let text = text.into();
    let hash = hash_of(text);
    assert!(
        groups.0.max(groups.1) <= MAX_GROUPS,
        "{groups:?} workgroups: a dimension of a launch has {MAX_GROUPS} at most; more are folded into two"
    );
    let parameters = uploaded(like, parameters);
    let mut bindings: Vec<_> = buffers.iter().map(|&handle| handle.clone().binding()).collect();
    bindings.push(parameters.binding());
    like.client.launch(
        Box::new(SourceKernel::new(Wgsl { text, hash }, CubeDim::new_3d(workgroup, 1, 1))),
        CubeCount::Static(groups.0, groups.1, 1),
        KernelArguments::new().with_buffers(bindings),
    );
}

/// Workgroups for one invocation an item, folded into two dimensions where one is not enough.
pub(super) fn groups_for(items: usize, workgroup: u32) -> (u32, u32) {
    let groups = (items as u64).div_ceil(u64::from(workgroup)).max(1);
    let x = groups.min(u64::from(MAX_GROUPS));
    (x as u32, groups.div_ceil(x) as u32)
}

/// Workgroups for a grid that is `across` wide and `down` high, folded anew where a side is too long. shared/grid.wgsl finds
/// the place of a workgroup in the grid; there may be more of them than places.
pub(super) fn grid(across: usize, down: usize) -> (u32, u32) {
    match (u32::try_from(across), u32::try_from(down)) {
        (Ok(across), Ok(down)) if across.max(down) <= MAX_GROUPS => (across, down),
        _ => groups_for(across * down, 1),
    }
}

/// `u32` parameters as bytes.
pub(super) fn words(values: &[usize]) -> Vec<u8> {
    values.iter().flat_map(|&value| u32::try_from(value).expect("fits a shader's u32").to_le_bytes()).collect()
}

/// An uninitialised f32 tensor on the device of `like`.
pub(super) fn empty(like: &CubeTensor, shape: Shape) -> CubeTensor {
    let handle = like.client.empty(shape.num_elements() * size_of::<f32>());
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), shape, handle, DType::F32)
}

/// The tensor in row-major order without gaps, as the shaders expect it.
pub(super) fn contiguous(tensor: CubeTensor) -> CubeTensor {
    assert!(matches!(tensor.dtype, DType::F32 | DType::I32 | DType::U32), "shaders read 32-bit values");
    into_contiguous(tensor)
}

/// A tensor that a shader writes in place. Where another handle of its memory exists it is copied first, as on the CPU: what
/// others hold never changes.
pub(super) fn in_place(tensor: CubeTensor) -> CubeTensor {
    assert!(tensor.is_contiguous(), "a tensor that is written in place is stored without gaps");
    if tensor.can_mut() {
        return tensor;
    }
    COPIES.set(COPIES.get() + 1);
    tensor.copy()
}

/// How often this thread has copied a tensor on a GPU before it was written in place, because something else held it as well.
/// A training step does not.
pub fn copies_before_writing() -> usize {
    COPIES.get()
}

/// The first `width` numbers of each row.
pub(super) fn first_columns(tensor: CubeTensor, width: usize) -> CubeTensor {
    let [rows, all] = tensor.meta.shape().dims();
    if all == width {
        return tensor;
    }
    CubeBackend::float_slice(tensor, &[Slice::from(0..rows), Slice::from(0..width)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shaders_that_are_not_listed_are_refused_whenever_they_are_launched() {
        let [listed, other] = [Text::from("listed"), Text::from("other")];
        let fresh = || Allowed::All { launched: Vec::new() };
        let mut allowed = fresh();
        assert!(allowed.admits(listed));
        assert!(allowed.list([listed].into_iter()).is_none());
        assert!(allowed.admits(listed) && !allowed.admits(other));
        let mut allowed = fresh();
        assert!(allowed.admits(listed) && allowed.admits(other));
        assert_eq!(allowed.list([listed].into_iter()).map(|text| text.0), Some("other"));
    }

    #[test]
    fn grids_have_room_for_all_and_no_side_too_long() {
        let sides = [1, 2, 1000, 65_535, 65_536, 70_001, 200_000];
        for across in sides {
            for down in sides.into_iter().filter(|down| across * down <= 65_535 * 65_535) {
                let (x, y) = grid(across, down);
                assert!(x.max(y) <= MAX_GROUPS, "{across} x {down} becomes {x} x {y}");
                assert!(u64::from(x) * u64::from(y) >= (across * down) as u64, "{across} x {down} becomes {x} x {y}");
            }
        }
        assert_eq!(grid(3, 65_535), (3, 65_535));
        for (items, workgroup) in [(0, 64), (64 * 65_535, 64), (64 * 65_535 + 1, 64), (70_000, 1)] {
            let (x, y) = groups_for(items, workgroup);
            let lanes = u64::from(x) * u64::from(y) * u64::from(workgroup);
            assert!(x.max(y) <= MAX_GROUPS && lanes >= items as u64, "{items} by {workgroup}: {x} x {y}");
        }
    }
}
