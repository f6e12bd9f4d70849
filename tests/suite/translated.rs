//! Every shader in every variant that is launched, translated as wgpu does it for Vulkan, Metal and DX12: the tests run on one of
//! them and all are promised.

use agoge::kernel::shaders;
use naga::back;

use crate::shaders::parsed;

#[test]
fn shaders_are_translated_for_vulkan() {
    for shader in shaders() {
        let (module, info) = parsed(&shader);
        let options = back::spv::Options { lang_version: (1, 6), ..Default::default() };
        let words = back::spv::write_vec(&module, &info, &options, None);
        assert!(words.unwrap_or_else(|e| panic!("{}: {e}", shader.name)).len() > 20, "{}", shader.name);
    }
}

#[test]
fn shaders_are_translated_for_metal() {
    for shader in shaders() {
        let (module, info) = parsed(&shader);
        let options = back::msl::Options { lang_version: (2, 4), ..Default::default() };
        let text = back::msl::write_string(&module, &info, &options, &back::msl::PipelineOptions::default());
        let (text, translated) = text.unwrap_or_else(|e| panic!("{}: {e}", shader.name));
        assert!(text.contains("kernel void"), "{}: {text}", shader.name);
        for entry_point in translated.entry_point_names {
            entry_point.unwrap_or_else(|e| panic!("{}: {e}", shader.name));
        }
    }
}

/// All but cooperative matrices, which are never chosen there: `device::cooperative` has a test of that.
#[test]
fn shaders_are_translated_for_dx12() {
    for shader in shaders().filter(|shader| !shader.cooperative) {
        let (module, info) = parsed(&shader);
        let (options, pipeline) = (back::hlsl::Options::default(), back::hlsl::PipelineOptions::default());
        let mut text = String::new();
        let translated = back::hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None);
        let translated = translated.unwrap_or_else(|e| panic!("{}: {e}", shader.name));
        assert!(text.contains("numthreads"), "{}: {text}", shader.name);
        for entry_point in translated.entry_point_names {
            entry_point.unwrap_or_else(|e| panic!("{}: {e}", shader.name));
        }
    }
}
