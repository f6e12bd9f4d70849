// The same gradient as masked_gather_direct.wgsl from transposed activations, one invocation an entry, for software adapters: what
// an entry reads lies in lines, and lanes that would share an entry gain nothing there.
// Composed twin: kernel::masked_gather::composed.

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;   // [inputs, ceil(tokens / 4)], filled up with zeros
@group(0) @binding(1) var<storage, read_write> dy: array<vec4<f32>>;  // [outputs, ceil(tokens / 4)], likewise
@group(0) @binding(2) var<storage, read_write> indices: array<u32>;   // [count], flat into [outputs, inputs], sorted
@group(0) @binding(3) var<storage, read_write> grad: array<f32>;      // [count]
@group(0) @binding(4) var<storage, read_write> dims: array<u32>;      // tokens, inputs, outputs, count

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let steps = (dims[0] + 3u) / 4u;
    // More than 65,535 workgroups are folded into two dimensions.
    let n = id.y * groups.x * 64u + id.x;
    if n >= dims[3] {
        return;
    }
    let of_dy = indices[n] / dims[1] * steps;
    let of_x = indices[n] % dims[1] * steps;
    var sums = vec4<f32>();
    for (var k = 0u; k < steps; k++) {
        sums = fma(dy[of_dy + k], x[of_x + k], sums);
    }
    grad[n] = (sums.x + sums.y) + (sums.z + sums.w);
}
