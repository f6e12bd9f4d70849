//! Golden tests on a device that is opened with what WebGPU promises and no more: nothing may want the larger limits of the
//! adapter at hand.

use std::cell::RefCell;

use agoge::{
    Result,
    device::{ComputeDevice, DeviceChoice, Limits, open_within},
};
use pollster::block_on;

thread_local! {
    /// What the tests of this thread run on instead of the usual devices.
    static INSTEAD: RefCell<Option<ComputeDevice>> = const { RefCell::new(None) };
}

/// The devices of a golden test.
pub fn devices() -> Vec<ComputeDevice> {
    INSTEAD.with_borrow(|instead| {
        instead.clone().map_or_else(|| crate::support::devices().to_vec(), |device| vec![device])
    })
}

fn within_limits(test: fn() -> Result<()>) -> Result<()> {
    let device = block_on(open_within(&DeviceChoice::Gpu, Limits::OfWebGpu)).expect("an adapter with WebGPU's limits");
    let promised = wgpu::Limits::default();
    let facts = &device.facts;
    assert_eq!(facts.max_binding_bytes, Some(promised.max_storage_buffer_binding_size));
    assert_eq!(facts.max_storage_buffers, Some(promised.max_storage_buffers_per_shader_stage));
    assert_eq!(facts.max_workgroup_memory_bytes, Some(promised.max_compute_workgroup_storage_size));
    INSTEAD.set(Some(device));
    let result = test();
    INSTEAD.set(None);
    result
}

#[test]
fn logits_and_losses_are_within_webgpus_limits() -> Result<()> {
    within_limits(super::logits_and_loss)
}

#[test]
fn gradients_are_within_webgpus_limits() -> Result<()> {
    within_limits(super::every_gradient_by_name)
}

#[test]
fn training_is_within_webgpus_limits() -> Result<()> {
    within_limits(super::trajectories::trajectories_are_those_of_the_references)
}
