//! Shaders, pipelines and commands of a driver that does nothing.

use std::{future::ready, pin::Pin};

use wgpu::custom::*;

/// What nobody asks of a device that only computes.
pub(super) const ONLY_COMPUTES: &str = "a device that has only sizes draws nothing, traces no rays and has no textures";

/// Everything that has no size.
#[derive(Debug)]
pub(super) struct Nothing;

impl ShaderModuleInterface for Nothing {
    fn get_compilation_info(&self) -> Pin<Box<dyn ShaderCompilationInfoFuture>> {
        Box::pin(ready(wgpu::CompilationInfo { messages: Vec::new() }))
    }
}

impl BindGroupLayoutInterface for Nothing {}

impl BindGroupInterface for Nothing {}

impl PipelineLayoutInterface for Nothing {}

impl CommandBufferInterface for Nothing {}

impl PipelineCacheInterface for Nothing {
    fn get_data(&self) -> Option<Vec<u8>> {
        None
    }
}

impl QuerySetInterface for Nothing {
    fn destroy(&self) {}
}

impl ComputePipelineInterface for Nothing {
    fn get_bind_group_layout(&self, _: u32) -> DispatchBindGroupLayout {
        DispatchBindGroupLayout::custom(Self)
    }
}

impl CommandEncoderInterface for Nothing {
    fn copy_buffer_to_buffer(&self, _: &DispatchBuffer, _: u64, _: &DispatchBuffer, _: u64, _: Option<u64>) {}

    fn copy_buffer_to_texture(
        &self,
        _: wgpu::TexelCopyBufferInfo<'_>,
        _: wgpu::TexelCopyTextureInfo<'_>,
        _: wgpu::Extent3d,
    ) {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn copy_texture_to_buffer(
        &self,
        _: wgpu::TexelCopyTextureInfo<'_>,
        _: wgpu::TexelCopyBufferInfo<'_>,
        _: wgpu::Extent3d,
    ) {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn copy_texture_to_texture(
        &self,
        _: wgpu::TexelCopyTextureInfo<'_>,
        _: wgpu::TexelCopyTextureInfo<'_>,
        _: wgpu::Extent3d,
    ) {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn begin_compute_pass(&self, _: &wgpu::ComputePassDescriptor<'_>) -> DispatchComputePass {
        DispatchComputePass::custom(ComputePass)
    }

    fn begin_render_pass(&self, _: &wgpu::RenderPassDescriptor<'_>) -> DispatchRenderPass {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn finish(&mut self) -> DispatchCommandBuffer {
        DispatchCommandBuffer::custom(Self)
    }

    fn clear_texture(&self, _: &DispatchTexture, _: &wgpu::ImageSubresourceRange) {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn clear_buffer(&self, _: &DispatchBuffer, _: u64, _: Option<u64>) {}

    fn insert_debug_marker(&self, _: &str) {}

    fn push_debug_group(&self, _: &str) {}

    fn pop_debug_group(&self) {}

    fn write_timestamp(&self, _: &DispatchQuerySet, _: u32) {}

    fn resolve_query_set(&self, _: &DispatchQuerySet, _: u32, _: u32, _: &DispatchBuffer, _: u64) {}

    fn mark_acceleration_structures_built<'a>(
        &self,
        _: &mut dyn Iterator<Item = &'a wgpu::Blas>,
        _: &mut dyn Iterator<Item = &'a wgpu::Tlas>,
    ) {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn build_acceleration_structures<'a>(
        &self,
        _: &mut dyn Iterator<Item = &'a wgpu::BlasBuildEntry<'a>>,
        _: &mut dyn Iterator<Item = &'a wgpu::Tlas>,
    ) {
        unreachable!("{ONLY_COMPUTES}")
    }

    fn transition_resources<'a>(
        &mut self,
        _: &mut dyn Iterator<Item = wgpu::wgt::BufferTransition<&'a DispatchBuffer>>,
        _: &mut dyn Iterator<Item = wgpu::wgt::TextureTransition<&'a DispatchTexture>>,
    ) {
    }
}

/// Where launches go.
#[derive(Debug)]
struct ComputePass;

/// wgpu asks a pass to end when it is dropped; there is nothing to end.
impl Drop for ComputePass {
    fn drop(&mut self) {}
}

impl ComputePassInterface for ComputePass {
    fn set_pipeline(&mut self, _: &DispatchComputePipeline) {}

    fn set_bind_group(&mut self, _: u32, _: Option<&DispatchBindGroup>, _: &[u32]) {}

    fn set_immediates(&mut self, _: u32, _: &[u8]) {}

    fn insert_debug_marker(&mut self, _: &str) {}

    fn push_debug_group(&mut self, _: &str) {}

    fn pop_debug_group(&mut self) {}

    fn write_timestamp(&mut self, _: &DispatchQuerySet, _: u32) {}

    fn begin_pipeline_statistics_query(&mut self, _: &DispatchQuerySet, _: u32) {}

    fn end_pipeline_statistics_query(&mut self) {}

    fn dispatch_workgroups(&mut self, _: u32, _: u32, _: u32) {}

    fn dispatch_workgroups_indirect(&mut self, _: &DispatchBuffer, _: u64) {}

    fn transition_resources<'a>(
        &mut self,
        _: &mut dyn Iterator<Item = wgpu::wgt::BufferTransition<&'a DispatchBuffer>>,
        _: &mut dyn Iterator<Item = wgpu::wgt::TextureTransition<&'a DispatchTextureView>>,
    ) {
    }
}
