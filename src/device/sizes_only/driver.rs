//! A graphics driver of which buffers have sizes and no memory, and to which nothing happens: wgpu's interfaces (its feature
//! `custom`), as far as computing needs them. cubecl's allocator and Burn's operations run on it as they are, natively without
//! any driver and in a browser without its GPU.

use std::{
    future::ready,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use wgpu::{Features, Limits, custom::*};

use super::{
    buffers::{Buffer, Bytes},
    commands::{Nothing, ONLY_COMPUTES},
    record::Record,
};
use crate::device::{DeviceFacts, Kind};

/// More bytes than any tensor takes: what a device can bind is compared with the largest buffer afterwards.
const NO_LIMIT: u64 = 1 << 50;

/// What graphics API the device claims to be of: one for which no shader compiler is chosen but that to WGSL.
const BACKEND: wgpu::Backend = wgpu::Backend::Noop;

/// The adapter that is imitated, and where its allocations are recorded.
#[derive(Clone, Debug)]
pub(super) struct Driver {
    facts: DeviceFacts,
    record: Arc<Record>,
}

/// wgpu's handles of a driver that imitates the adapter `facts`.
pub(super) fn handles(facts: &DeviceFacts, record: Arc<Record>) -> (wgpu::Instance, wgpu::Adapter) {
    let driver = Driver { facts: facts.clone(), record };
    (wgpu::Instance::from_custom(driver.clone()), wgpu::Adapter::from_custom(driver))
}

impl Driver {
    fn limits(&self) -> Limits {
        let usual = Limits::default();
        let given = |fact: Option<u32>, usual: u32| fact.unwrap_or(usual);
        let alignment = given(self.facts.buffer_alignment, usual.min_storage_buffer_offset_alignment);
        Limits {
            max_buffer_size: NO_LIMIT,
            max_storage_buffer_binding_size: NO_LIMIT,
            max_storage_buffers_per_shader_stage: given(
                self.facts.max_storage_buffers,
                usual.max_storage_buffers_per_shader_stage,
            ),
            max_compute_workgroup_storage_size: given(
                self.facts.max_workgroup_memory_bytes,
                usual.max_compute_workgroup_storage_size,
            ),
            min_storage_buffer_offset_alignment: alignment,
            min_uniform_buffer_offset_alignment: alignment,
            ..usual
        }
    }

    fn features(&self) -> Features {
        // Without timestamps a browser's build of cubecl refuses a device.
        let mut all = Features::TIMESTAMP_QUERY;
        all.set(Features::SHADER_F16, self.facts.shader_f16);
        all.set(Features::SUBGROUP, self.facts.subgroup_sizes.is_some());
        all
    }

    fn info(&self) -> wgpu::AdapterInfo {
        let kind = match self.facts.kind {
            Kind::DiscreteGpu => wgpu::DeviceType::DiscreteGpu,
            Kind::IntegratedGpu => wgpu::DeviceType::IntegratedGpu,
            Kind::VirtualGpu => wgpu::DeviceType::VirtualGpu,
            Kind::SoftwareGpu => wgpu::DeviceType::Cpu,
            Kind::Other | Kind::Cpu => wgpu::DeviceType::Other,
        };
        let mut info = wgpu::AdapterInfo::new(kind, BACKEND);
        info.name.clone_from(&self.facts.name);
        if let Some(sizes) = self.facts.subgroup_sizes {
            (info.subgroup_min_size, info.subgroup_max_size) = sizes;
        }
        info
    }
}

impl InstanceInterface for Driver {
    fn new(_: wgpu::InstanceDescriptor) -> Self {
        unreachable!("a device that has only sizes is made from the facts of another")
    }

    unsafe fn create_surface(&self, _: wgpu::SurfaceTargetUnsafe) -> Result<DispatchSurface, wgpu::CreateSurfaceError> {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn request_adapter(&self, _: &wgpu::RequestAdapterOptions<'_, '_>) -> Pin<Box<dyn RequestAdapterFuture>> {
        Box::pin(ready(Ok(DispatchAdapter::custom(self.clone()))))
    }

    fn poll_all_devices(&self, _: bool) -> bool {
        true
    }

    fn wgsl_language_features(&self) -> wgpu::WgslLanguageFeatures {
        wgpu::WgslLanguageFeatures::empty()
    }

    fn enumerate_adapters(&self, _: wgpu::Backends) -> Pin<Box<dyn EnumerateAdapterFuture>> {
        Box::pin(ready(vec![DispatchAdapter::custom(self.clone())]))
    }
}

impl AdapterInterface for Driver {
    fn request_device(&self, _: &wgpu::DeviceDescriptor<'_>) -> Pin<Box<dyn RequestDeviceFuture>> {
        let device = DispatchDevice::custom(Gpu(self.clone()));
        Box::pin(ready(Ok((device, DispatchQueue::custom(Queue::default())))))
    }

    fn is_surface_supported(&self, _: &DispatchSurface) -> bool {
        false
    }

    fn features(&self) -> Features {
        Self::features(self)
    }

    fn limits(&self) -> Limits {
        Self::limits(self)
    }

    fn downlevel_capabilities(&self) -> wgpu::DownlevelCapabilities {
        wgpu::DownlevelCapabilities::default()
    }

    fn get_info(&self) -> wgpu::AdapterInfo {
        self.info()
    }

    fn get_texture_format_features(&self, _: wgpu::TextureFormat) -> wgpu::TextureFormatFeatures {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn get_presentation_timestamp(&self) -> wgpu::PresentationTimestamp {
        wgpu::PresentationTimestamp::INVALID_TIMESTAMP
    }

    fn cooperative_matrix_properties(&self) -> Vec<wgpu::wgt::CooperativeMatrixProperties> {
        Vec::new()
    }
}

/// The device itself. (`Driver` is the adapter; both have methods of the same names.)
#[derive(Debug)]
struct Gpu(Driver);

impl DeviceInterface for Gpu {
    fn features(&self) -> Features {
        self.0.features()
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn adapter_info(&self) -> wgpu::AdapterInfo {
        self.0.info()
    }

    fn create_shader_module(
        &self,
        _: wgpu::ShaderModuleDescriptor<'_>,
        _: wgpu::ShaderRuntimeChecks,
    ) -> DispatchShaderModule {
        DispatchShaderModule::custom(Nothing)
    }

    unsafe fn create_shader_module_passthrough(
        &self,
        _: &wgpu::ShaderModuleDescriptorPassthrough<'_>,
    ) -> DispatchShaderModule {
        DispatchShaderModule::custom(Nothing)
    }

    fn create_bind_group_layout(&self, _: &wgpu::BindGroupLayoutDescriptor<'_>) -> DispatchBindGroupLayout {
        DispatchBindGroupLayout::custom(Nothing)
    }

    fn create_bind_group(&self, _: &wgpu::BindGroupDescriptor<'_>) -> DispatchBindGroup {
        DispatchBindGroup::custom(Nothing)
    }

    fn create_pipeline_layout(&self, _: &wgpu::PipelineLayoutDescriptor<'_>) -> DispatchPipelineLayout {
        DispatchPipelineLayout::custom(Nothing)
    }

    fn create_render_pipeline(&self, _: &wgpu::RenderPipelineDescriptor<'_>) -> DispatchRenderPipeline {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn create_mesh_pipeline(&self, _: &wgpu::MeshPipelineDescriptor<'_>) -> DispatchRenderPipeline {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn create_compute_pipeline(&self, _: &wgpu::ComputePipelineDescriptor<'_>) -> DispatchComputePipeline {
        DispatchComputePipeline::custom(Nothing)
    }

    unsafe fn create_pipeline_cache(&self, _: &wgpu::PipelineCacheDescriptor<'_>) -> DispatchPipelineCache {
        DispatchPipelineCache::custom(Nothing)
    }

    fn create_buffer(&self, wanted: &wgpu::BufferDescriptor<'_>) -> DispatchBuffer {
        DispatchBuffer::custom(Buffer::new(wanted, &self.0.record))
    }

    fn create_texture(&self, _: &wgpu::TextureDescriptor<'_>) -> DispatchTexture {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn create_external_texture(
        &self,
        _: &wgpu::ExternalTextureDescriptor<'_>,
        _: &[&wgpu::TextureView],
    ) -> DispatchExternalTexture {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn create_blas(
        &self,
        _: &wgpu::CreateBlasDescriptor<'_>,
        _: wgpu::BlasGeometrySizeDescriptors,
    ) -> (Option<u64>, DispatchBlas) {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn create_tlas(&self, _: &wgpu::CreateTlasDescriptor<'_>) -> DispatchTlas {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn create_sampler(&self, _: &wgpu::SamplerDescriptor<'_>) -> DispatchSampler {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn create_query_set(&self, _: &wgpu::QuerySetDescriptor<'_>) -> DispatchQuerySet {
        DispatchQuerySet::custom(Nothing)
    }

    fn create_command_encoder(&self, _: &wgpu::CommandEncoderDescriptor<'_>) -> DispatchCommandEncoder {
        DispatchCommandEncoder::custom(Nothing)
    }

    fn create_render_bundle_encoder(&self, _: &wgpu::RenderBundleEncoderDescriptor<'_>) -> DispatchRenderBundleEncoder {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn set_device_lost_callback(&self, _: BoxDeviceLostCallback) {}

    fn on_uncaptured_error(&self, _: Arc<dyn wgpu::UncapturedErrorHandler>) {}

    fn push_error_scope(&self, _: wgpu::ErrorFilter) -> u32 {
        0
    }

    fn pop_error_scope(&self, _: u32) -> Pin<Box<dyn PopErrorScopeFuture>> {
        Box::pin(ready(None))
    }

    unsafe fn start_graphics_debugger_capture(&self) {}

    unsafe fn stop_graphics_debugger_capture(&self) {}

    fn poll(&self, _: wgpu::wgt::PollType<u64>) -> Result<wgpu::PollStatus, wgpu::PollError> {
        Ok(wgpu::PollStatus::QueueEmpty)
    }

    fn get_internal_counters(&self) -> wgpu::InternalCounters {
        wgpu::InternalCounters::default()
    }

    fn generate_allocator_report(&self) -> Option<wgpu::AllocatorReport> {
        None
    }

    fn destroy(&self) {}
}

/// Work is done as soon as it is handed in.
#[derive(Debug, Default)]
struct Queue {
    submitted: AtomicU64,
}

impl QueueInterface for Queue {
    fn write_buffer(&self, _: &DispatchBuffer, _: u64, _: &[u8]) {}

    fn create_staging_buffer(&self, size: wgpu::BufferSize) -> Option<DispatchQueueWriteBuffer> {
        Some(DispatchQueueWriteBuffer::custom(Bytes::zeros(size.get() as usize)))
    }

    fn validate_write_buffer(&self, _: &DispatchBuffer, _: u64, _: wgpu::BufferSize) -> Option<()> {
        Some(())
    }

    fn write_staging_buffer(&self, _: &DispatchBuffer, _: u64, _: &DispatchQueueWriteBuffer) {}

    fn write_texture(
        &self,
        _: wgpu::TexelCopyTextureInfo<'_>,
        _: &[u8],
        _: wgpu::TexelCopyBufferLayout,
        _: wgpu::Extent3d,
    ) {
        unreachable!("{ONLY_COMPUTES}")
    }

    #[cfg(target_arch = "wasm32")]
    fn copy_external_image_to_texture(
        &self,
        _: &wgpu::CopyExternalImageSourceInfo,
        _: wgpu::CopyExternalImageDestInfo<&wgpu::Texture>,
        _: wgpu::Extent3d,
    ) {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn submit(&self, commands: &mut dyn Iterator<Item = DispatchCommandBuffer>) -> u64 {
        commands.for_each(drop);
        self.submitted.fetch_add(1, Ordering::Relaxed)
    }

    fn get_timestamp_period(&self) -> f32 {
        1.0
    }

    fn on_submitted_work_done(&self, callback: BoxSubmittedWorkDoneCallback) {
        callback();
    }

    fn compact_blas(&self, _: &DispatchBlas) -> (Option<u64>, DispatchBlas) {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn present(&self, _: &DispatchSurfaceOutputDetail) {
        unreachable!("{ONLY_COMPUTES}")
    }
}
