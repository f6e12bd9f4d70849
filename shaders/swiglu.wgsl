// The gate of a SwiGLU layer, one invocation a number: y = gate * sigmoid(gate) * up.
// Composed twin: kernel::swiglu::composed.

@group(0) @binding(0) var<storage, read_write> gate: array<f32>;  // [count]
@group(0) @binding(1) var<storage, read_write> up: array<f32>;    // [count]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;     // [count]
@group(0) @binding(3) var<storage, read_write> dims: array<u32>;  // count

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let n = id.y * groups.x * 64u + id.x;
    if n < dims[0] {
        y[n] = gate[n] / (1.0 + exp(-gate[n])) * up[n];
    }
}
