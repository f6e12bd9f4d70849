//! Cooperative matrices (tensor cores), which wgpu offers as an experiment on Vulkan and Metal. Naga cannot write them for DX12.
//!
//! They are off unless `AGOGE_COOPERATIVE_MATRIX=1` is set in the environment.

/// What wgpu calls it.
pub(super) const FEATURE: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
/// Bytes of workgroup memory that a device has for whose adapter the shader is chosen.
pub const WORKGROUP_MEMORY: u32 = 40 << 10;
/// Lanes of a subgroup that the shader is written for.
const SUBGROUP: u32 = 32;

/// Whether the user asks for them.
pub(super) fn wanted() -> bool {
    std::env::var_os("AGOGE_COOPERATIVE_MATRIX").is_some_and(|value| value == "1")
}

/// Whether an adapter multiplies 16 x 16 numbers in f16 with sums in f32, as the shader wants it, with the `limits` that its
/// device is opened with.
pub(super) fn offered(adapter: &wgpu::Adapter, limits: &wgpu::Limits) -> bool {
    let kinds = adapter.cooperative_matrix_properties();
    suits(&adapter.get_info(), adapter.features(), &kinds, limits)
}

fn suits(
    info: &wgpu::AdapterInfo,
    features: wgpu::Features,
    kinds: &[wgpu::CooperativeMatrixProperties],
    limits: &wgpu::Limits,
) -> bool {
    use wgpu::CooperativeScalarType::{F16, F32};
    let sixteen = kinds.iter().any(|kind| {
        (kind.m_size, kind.n_size, kind.k_size) == (16, 16, 16) && (kind.ab_type, kind.cr_type) == (F16, F32)
    });
    sixteen
        && matches!(info.backend, wgpu::Backend::Vulkan | wgpu::Backend::Metal)
        && features.contains(FEATURE | wgpu::Features::SHADER_F16)
        && (info.subgroup_min_size, info.subgroup_max_size) == (SUBGROUP, SUBGROUP)
        && limits.max_compute_workgroup_storage_size >= WORKGROUP_MEMORY
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_never_taken_on_dx12_or_with_too_little_workgroup_memory() {
        use wgpu::CooperativeScalarType::{F16, F32};
        let kinds = [wgpu::CooperativeMatrixProperties {
            m_size: 16,
            n_size: 16,
            k_size: 16,
            ab_type: F16,
            cr_type: F32,
            saturating_accumulation: false,
        }];
        let taken = |backend, workgroup_memory| {
            let info = wgpu::AdapterInfo {
                subgroup_min_size: SUBGROUP,
                subgroup_max_size: SUBGROUP,
                ..wgpu::AdapterInfo::new(wgpu::DeviceType::DiscreteGpu, backend)
            };
            let limits = wgpu::Limits { max_compute_workgroup_storage_size: workgroup_memory, ..Default::default() };
            suits(&info, wgpu::Features::all(), &kinds, &limits)
        };
        assert!(taken(wgpu::Backend::Vulkan, WORKGROUP_MEMORY) && taken(wgpu::Backend::Metal, WORKGROUP_MEMORY));
        assert!(!taken(wgpu::Backend::Vulkan, WORKGROUP_MEMORY - 1));
        for backend in [wgpu::Backend::Dx12, wgpu::Backend::Gl, wgpu::Backend::BrowserWebGpu, wgpu::Backend::Noop] {
            assert!(!taken(backend, WORKGROUP_MEMORY), "{backend:?}");
        }
    }
}
