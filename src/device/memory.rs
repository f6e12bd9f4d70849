//! How much memory a run may use on a device.

use super::kind::Kind;

/// Bytes of memory for a run on an adapter; `None` where it does not say.
///
/// Software and integrated GPUs share the machine's memory; of a GPU with its own memory it is the largest heap of that,
/// which Vulkan tells and DX12 and browsers do not.
pub(super) fn of_adapter(adapter: &wgpu::Adapter, kind: Kind) -> Option<u64> {
    let metal = adapter.get_info().backend == wgpu::Backend::Metal;
    match kind {
        Kind::SoftwareGpu | Kind::Cpu => of_machine(),
        Kind::IntegratedGpu if metal => of_machine().map(of_apple_silicon),
        Kind::IntegratedGpu => of_machine(),
        Kind::DiscreteGpu | Kind::VirtualGpu | Kind::Other => device_local(adapter),
    }
}

/// Bytes of the machine's memory, or of what its container may use.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn of_machine() -> Option<u64> {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let granted = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
    Some(system.total_memory().min(granted)).filter(|&bytes| bytes > 0)
}

/// A browser does not say.
#[cfg(target_arch = "wasm32")]
pub(super) fn of_machine() -> Option<u64> {
    None
}

/// Bytes of memory that this process keeps resident; 0 where the system does not say.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn resident_bytes() -> u64 {
    memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem as u64)
}

/// Bytes of memory that the page has claimed.
#[cfg(target_arch = "wasm32")]
pub(super) fn resident_bytes() -> u64 {
    (core::arch::wasm32::memory_size(0) as u64) << 16
}

/// Bytes that the process has had in memory at most; what it has now where the system does not keep the most.
#[cfg(not(target_arch = "wasm32"))]
pub fn peak_of_process() -> u64 {
    let status = if cfg!(target_os = "linux") { std::fs::read_to_string("/proc/self/status").ok() } else { None };
    let line = status.as_deref().and_then(|status| status.lines().find_map(|line| line.strip_prefix("VmHWM:")));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.map_or_else(resident_bytes, |kibibytes| 1024 * kibibytes)
}

/// The share of unified memory that Metal lets a GPU keep resident (`recommendedMaxWorkingSetSize`): two thirds, on
/// machines of more than 36 GiB three quarters.
fn of_apple_silicon(machine: u64) -> u64 {
    if machine > 36 << 30 { machine / 4 * 3 } else { machine / 3 * 2 }
}

/// Bytes of the largest heap of device-local memory.
#[cfg(not(any(target_vendor = "apple", target_arch = "wasm32")))]
fn device_local(adapter: &wgpu::Adapter) -> Option<u64> {
    /// `VK_MEMORY_HEAP_DEVICE_LOCAL_BIT`.
    const DEVICE_LOCAL: u32 = 1;
    // SAFETY: the adapter is only asked for its properties; nothing of it is kept or destroyed.
    let vulkan = unsafe { adapter.as_hal::<wgpu::hal::vulkan::Api>() }?;
    let instance = vulkan.shared_instance().raw_instance();
    // SAFETY: the physical device belongs to this instance, and both live as long as the adapter.
    let properties = unsafe { instance.get_physical_device_memory_properties(vulkan.raw_physical_device()) };
    let heaps = &properties.memory_heaps[..properties.memory_heap_count as usize];
    heaps.iter().filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0).map(|heap| heap.size).max()
}

/// Metal tells only of adapters that share the machine's memory, a browser of none.
#[cfg(any(target_vendor = "apple", target_arch = "wasm32"))]
fn device_local(_adapter: &wgpu::Adapter) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_memory() {
        let bytes = of_machine().expect("this machine says");
        assert!((1 << 28..1 << 50).contains(&bytes), "{bytes}");
    }

    #[test]
    fn metal_keeps_a_share_for_the_system() {
        assert_eq!([of_apple_silicon(24 << 30), of_apple_silicon(48 << 30)], [16 << 30, 36 << 30]);
    }

    #[test]
    fn heaps_are_read_through_vulkan() {
        let instance = super::super::instance();
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
        for adapter in adapters {
            let heap = device_local(&adapter).expect("a Vulkan adapter has a device-local heap");
            assert!((1 << 27..1 << 50).contains(&heap), "{}: {heap}", adapter.get_info().name);
        }
    }
}
