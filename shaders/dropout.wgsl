// Inverted dropout, one invocation a number: y = x * factor where the hash of (seed, position) is at least `least`,
// else 0. The gradient is the same operation. Composed twin: kernel::dropout::composed.

@group(0) @binding(0) var<storage, read_write> x: array<f32>;     // [count]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;     // [count]
@group(0) @binding(2) var<storage, read_write> dims: array<u32>;  // count, seed low, seed high, least, factor (f32 bits)

// The hash pcg3d, first component (Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020).
fn hash(seed_low: u32, seed_high: u32, position: u32) -> u32 {
    var v = vec3<u32>(seed_low, seed_high, position) * 1664525u + 1013904223u;
    v.x += v.y * v.z;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v ^= v >> vec3<u32>(16u);
    return v.x + v.y * v.z;
}

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let n = id.y * groups.x * 64u + id.x;
    if n < dims[0] {
        let kept = hash(dims[1], dims[2], n) >= dims[3];
        y[n] = select(0.0, x[n] * bitcast<f32>(dims[4]), kept);
    }
}
