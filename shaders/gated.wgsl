// The gate of a feed-forward layer, one invocation a number: y = f(gate) * up.
// Needs shared/activation.wgsl. Composed twin: kernel::gated::composed.

@group(0) @binding(0) var<storage, read_write> gate: array<f32>;  // [count]
@group(0) @binding(1) var<storage, read_write> up: array<f32>;    // [count]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;     // [count]
@group(0) @binding(3) var<storage, read_write> dims: array<u32>;  // count, kind of f

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let n = id.y * groups.x * 64u + id.x;
    if n < dims[0] {
        y[n] = activated(gate[n], dims[1]).value * up[n];
    }
}
