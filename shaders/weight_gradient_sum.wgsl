// Adds up what the parts of the tokens gave to the gradient of a weight, one invocation a number:
//     grad[n] = sum over p of parts[p, n].
// Composed twin: Tensor::sum_dim.

@group(0) @binding(0) var<storage, read_write> parts: array<f32>;  // [count of parts, count]
@group(0) @binding(1) var<storage, read_write> grad: array<f32>;   // [count]
@group(0) @binding(2) var<storage, read_write> dims: array<u32>;   // count of parts, count

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let count = dims[1];
    let n = id.y * groups.x * 64u + id.x;
    if n >= count {
        return;
    }
    let end = dims[0] * count;
    var sum = 0.0;
    for (var at = n; at < end; at += count) {
        sum += parts[at];
    }
    grad[n] = sum;
}
