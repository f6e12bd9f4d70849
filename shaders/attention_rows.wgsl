// What the backward pass of attention needs of each query and of each key beside their vectors, in one buffer: a shader
// has only eight. One invocation a query and a key. For a query the log of its sum of exponentials and the sum of
// result * grad, which is that of probability * dprobability over its keys (Dao 2023, section 3.1); for a key 1, or 0
// where it is padding.

@group(0) @binding(0) var<storage, read_write> result: array<vec4<f32>>;  // [sequences, width, heads, vectors]
@group(0) @binding(1) var<storage, read_write> grad: array<vec4<f32>>;    // as result
@group(0) @binding(2) var<storage, read_write> logs: array<f32>;          // [sequences, width, heads]
@group(0) @binding(3) var<storage, read_write> padding: array<u32>;       // [sequences, keys], 0 = padding; unread if dims[8] = 0
@group(0) @binding(4) var<storage, read_write> rows: array<f32>;          // [queries, 2], then [sequences, keys]
@group(0) @binding(5) var<storage, read_write> dims: array<u32>;          // as in shared/attention.wgsl

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = id.y * groups.x * 64u + id.x;
    let queries = dims[0] * dims[1] * dims[3];
    if row < queries {
        var dot_sum = 0.0;
        for (var at = row * dims[5]; at < (row + 1u) * dims[5]; at++) {
            dot_sum += dot(result[at], grad[at]);
        }
        rows[2u * row] = logs[row];
        rows[2u * row + 1u] = dot_sum;
    }
    if row < dims[0] * dims[2] {
        var kept = 1.0;
        if dims[8] == 1u && padding[row] == 0u {
            kept = 0.0;
        }
        rows[2u * queries + row] = kept;
    }
}
