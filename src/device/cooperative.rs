//! Cooperative matrices (tensor cores), which wgpu offers as an experiment on Vulkan.
//!
//! They are off unless `AGOGE_COOPERATIVE_MATRIX=1` is set in the environment.

/// What wgpu calls it.
pub(super) const FEATURE: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
/// Bytes of workgroup memory that the shader needs.
const WORKGROUP_MEMORY: u32 = 40 << 10;
/// Lanes of a subgroup that the shader is written for.
const SUBGROUP: u32 = 32;

/// Whether the user asks for them.
pub(super) fn wanted() -> bool {
    std::env::var_os("AGOGE_COOPERATIVE_MATRIX").is_some_and(|value| value == "1")
}

/// Whether an adapter multiplies 16 x 16 numbers in f16 with sums in f32, as the shader wants it.
pub(super) fn offered(adapter: &wgpu::Adapter) -> bool {
    use wgpu::CooperativeScalarType::{F16, F32};
    let (info, features) = (adapter.get_info(), adapter.features());
    let kinds = adapter.cooperative_matrix_properties();
    let sixteen = kinds.iter().any(|kind| {
        (kind.m_size, kind.n_size, kind.k_size) == (16, 16, 16) && (kind.ab_type, kind.cr_type) == (F16, F32)
    });
    sixteen
        && features.contains(FEATURE | wgpu::Features::SHADER_F16)
        && (info.subgroup_min_size, info.subgroup_max_size) == (SUBGROUP, SUBGROUP)
        && adapter.limits().max_compute_workgroup_storage_size >= WORKGROUP_MEMORY
}

/// wgpu wants to hear that its experiments may be undefined behaviour.
pub(super) fn permission(given: bool) -> wgpu::ExperimentalFeatures {
    if given {
        // SAFETY: the one experimental feature that is asked for is used by one shader, whose matrices lie within their
        // buffers: it is tested against its composed twin where an adapter offers it.
        unsafe { wgpu::ExperimentalFeatures::enabled() }
    } else {
        wgpu::ExperimentalFeatures::disabled()
    }
}
