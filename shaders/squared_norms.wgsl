// Sums of squares of five tensors in one launch: workgroup (x, y) reduces its strided share of tensor y to one number. The
// partial sums of many launches lie one behind the other, and squared_norm.wgsl adds them up.
// Composed twin: kernel::squared_norm::composed.

@group(0) @binding(0) var<storage, read_write> first: array<f32>;     // [counts[0]]
@group(0) @binding(1) var<storage, read_write> second: array<f32>;    // [counts[1]]
@group(0) @binding(2) var<storage, read_write> third: array<f32>;     // [counts[2]]
@group(0) @binding(3) var<storage, read_write> fourth: array<f32>;    // [counts[3]]
@group(0) @binding(4) var<storage, read_write> fifth: array<f32>;     // [counts[4]]
@group(0) @binding(5) var<storage, read_write> partials: array<f32>;  // of all launches
@group(0) @binding(6) var<storage, read_write> dims: array<u32>;      // five counts, place of the first partial sum

var<workgroup> sums: array<f32, 256>;

fn value(tensor: u32, n: u32) -> f32 {
    switch tensor {
        case 0u: { return first[n]; }
        case 1u: { return second[n]; }
        case 2u: { return third[n]; }
        case 3u: { return fourth[n]; }
        default: { return fifth[n]; }
    }
}

@compute @workgroup_size(256, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let count = dims[group.y];
    var sum = 0.0;
    for (var n = group.x * 256u + lane; n < count; n += groups.x * 256u) {
        let x = value(group.y, n);
        sum += x * x;
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
        partials[dims[5] + group.y * groups.x + group.x] = sums[0];
    }
}
