//! What several test files share: devices, folders, comparison.

use std::{io::Write, sync::OnceLock};

use agoge::device::{ComputeDevice, DeviceChoice, open};

/// Writes a line that the test runner does not swallow.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The device of the WGSL path: any adapter, software ones included. Tests fail where there is none.
pub fn gpu() -> &'static ComputeDevice {
    static GPU: OnceLock<ComputeDevice> = OnceLock::new();
    GPU.get_or_init(|| {
        let device =
            pollster::block_on(open(&DeviceChoice::Gpu)).expect("the tests need a Vulkan, Metal or DX12 adapter");
        agoge::kernel::check_launches();
        say(&format!("WGSL path on {} ({}, {})", device.facts.name, device.facts.backend, device.facts.kind));
        device
    })
}

/// Both devices: WGSL and the CPU.
pub fn devices() -> [ComputeDevice; 2] {
    [gpu().clone(), ComputeDevice::cpu()]
}

/// Asserts that two slices agree within `atol + rtol * |expected|`, and says where they do not.
pub fn assert_close(what: &str, actual: &[f32], expected: &[f32], rtol: f32, atol: f32) {
    assert_eq!(actual.len(), expected.len(), "{what}: length");
    let worst = actual
        .iter()
        .zip(expected)
        .enumerate()
        .map(|(i, (a, e))| ((a - e).abs() / (atol + rtol * e.abs()), i))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((excess, i)) = worst {
        assert!(
            excess <= 1.0,
            "{what}: element {i} is {} but should be {} ({excess:.2} times the tolerance)",
            actual[i],
            expected[i]
        );
    }
}
