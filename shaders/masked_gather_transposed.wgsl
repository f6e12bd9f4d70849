// The same gradient as masked_gather_direct.wgsl from transposed activations, for GPUs that read memory in lines: eight lanes
// share the tokens of an entry and read them side by side.
// Composed twin: kernel::masked_gather::composed.

const SHARERS: u32 = 8u;

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;   // [inputs, ceil(tokens / 4)], filled up with zeros
@group(0) @binding(1) var<storage, read_write> dy: array<vec4<f32>>;  // [outputs, ceil(tokens / 4)], likewise
@group(0) @binding(2) var<storage, read_write> indices: array<u32>;   // [count], flat into [outputs, inputs], sorted
@group(0) @binding(3) var<storage, read_write> grad: array<f32>;      // [count]
@group(0) @binding(4) var<storage, read_write> dims: array<u32>;      // tokens, inputs, outputs, count

var<workgroup> partial: array<f32, 64>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let steps = (dims[0] + 3u) / 4u;
    let inputs = dims[1];
    let count = dims[3];
    // More than 65,535 workgroups are folded into two dimensions.
    let first = SHARERS * (group.y * groups.x + group.x);
    let n = first + lane / SHARERS;
    var sums = vec4<f32>();
    if n < count {
        let index = indices[n];
        let of_dy = index / inputs * steps;
        let of_x = index % inputs * steps;
        for (var k = lane % SHARERS; k < steps; k += SHARERS) {
            sums = fma(dy[of_dy + k], x[of_x + k], sums);
        }
    }
    partial[lane] = (sums.x + sums.y) + (sums.z + sums.w);
    workgroupBarrier();
    if lane < SHARERS && first + lane < count {
        let at = SHARERS * lane;
        let left = (partial[at] + partial[at + 1u]) + (partial[at + 2u] + partial[at + 3u]);
        let right = (partial[at + 4u] + partial[at + 5u]) + (partial[at + 6u] + partial[at + 7u]);
        grad[first + lane] = left + right;
    }
}
