// Sum of squares by a parallel reduction: each workgroup reduces its strided share of `values` to one number. Run
// once over the values with many workgroups and once more, with `squared` = 0, over the partial sums of all tensors.
// Composed twin: kernel::squared_norm::composed.

@group(0) @binding(0) var<storage, read_write> values: array<f32>;    // [count]
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;  // [workgroups] from `place`
@group(0) @binding(2) var<storage, read_write> dims: array<u32>;      // count, squared (1: square first, 0: plain sum), place

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let count = dims[0];
    let square = dims[1] == 1u;
    var sum = 0.0;
    for (var n = group.x * 256u + lane; n < count; n += groups.x * 256u) {
        let value = values[n];
        sum += select(value, value * value, square);
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if lane < half {
            sums[lane] += sums[lane + half];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        partials[dims[2] + group.x] = sums[0];
    }
}
