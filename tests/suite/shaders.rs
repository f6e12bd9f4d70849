//! Every shader in every variant that is launched: valid, and within what any device promises.

use std::collections::BTreeSet;

use agoge::{
    device::cooperative,
    kernel::{Shader, shaders},
};
use naga::{
    AddressSpace, Module,
    proc::Layouter,
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

/// A shader as naga reads it.
pub fn parsed(shader: &Shader) -> (Module, ModuleInfo) {
    let Shader { name, source, cooperative } = shader;
    let module =
        naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));
    // Unpacking f16 is in the core of WebGPU, but naga names it apart.
    let core = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let experiments = Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX;
    let allowed = if *cooperative { core | experiments } else { core };
    let info = Validator::new(ValidationFlags::all(), allowed)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));
    (module, info)
}

#[test]
fn every_file_is_launched_and_has_one_entry_point() {
    let mut named = BTreeSet::new();
    for shader in shaders() {
        let (module, _) = parsed(&shader);
        assert_eq!(module.entry_points.len(), 1, "{}: one entry point a file", shader.name);
        assert_eq!(module.entry_points[0].name, "main", "{}", shader.name);
        // Variants of a file have what tells them apart behind its name.
        named.extend(shader.name.split(' ').next().map(str::to_string));
    }
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders")).expect("shaders");
    let names = files.filter_map(|entry| {
        let path = entry.expect("an entry").path();
        (path.extension()? == "wgsl").then(|| path.file_stem()?.to_str().map(str::to_owned)).flatten()
    });
    assert_eq!(names.collect::<BTreeSet<_>>(), named);
}

/// Bytes of workgroup memory as WebGPU counts them: each variable takes a multiple of 16.
fn workgroup_bytes(module: &Module) -> u32 {
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).expect("types have sizes");
    let variables = module.global_variables.iter().filter(|(_, variable)| variable.space == AddressSpace::WorkGroup);
    variables.map(|(_, variable)| layouter[variable.ty].size.next_multiple_of(16)).sum()
}

#[test]
fn shaders_are_within_what_every_device_promises() {
    let promised = wgpu::Limits::default();
    for shader in shaders() {
        let (module, _) = parsed(&shader);
        let name = &shader.name;
        // For cooperative matrices the host checks the adapter's limit before it takes them.
        let most = if shader.cooperative {
            cooperative::WORKGROUP_MEMORY
        } else {
            promised.max_compute_workgroup_storage_size
        };
        let bytes = workgroup_bytes(&module);
        assert!(bytes <= most, "{name}: {bytes} bytes of workgroup memory, of which there are {most}");
        let is_storage = |space| matches!(space, AddressSpace::Storage { .. });
        let bindings = module.global_variables.iter().filter(|(_, variable)| is_storage(variable.space)).count();
        assert!(
            bindings <= promised.max_storage_buffers_per_shader_stage as usize,
            "{name}: {bindings} storage buffers"
        );
        let [x, y, z] = module.entry_points[0].workgroup_size;
        let within = x <= promised.max_compute_workgroup_size_x
            && y <= promised.max_compute_workgroup_size_y
            && z <= promised.max_compute_workgroup_size_z
            && x * y * z <= promised.max_compute_invocations_per_workgroup;
        assert!(within, "{name}: {x} x {y} x {z} invocations");
    }
}
