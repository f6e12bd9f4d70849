// Gradient of gated.wgsl, one invocation a number: dgate = dy * up * f'(gate), dup = dy * f(gate).
// Needs shared/activation.wgsl. Composed twin: autodiff of kernel::gated::composed.

@group(0) @binding(0) var<storage, read_write> gate: array<f32>;   // [count]
@group(0) @binding(1) var<storage, read_write> up: array<f32>;     // [count]
@group(0) @binding(2) var<storage, read_write> dy: array<f32>;     // [count]
@group(0) @binding(3) var<storage, read_write> dgate: array<f32>;  // [count]
@group(0) @binding(4) var<storage, read_write> dup: array<f32>;    // [count]
@group(0) @binding(5) var<storage, read_write> dims: array<u32>;   // count, kind of f

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let n = id.y * groups.x * 64u + id.x;
    if n >= dims[0] {
        return;
    }
    let f = activated(gate[n], dims[1]);
    dgate[n] = dy[n] * up[n] * f.slope;
    dup[n] = dy[n] * f.value;
}
