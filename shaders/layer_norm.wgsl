// LayerNorm of each row, one workgroup a row: y = (x - mean(x)) / sqrt(var(x) + epsilon) * scale + bias.
// Needs shared/reduce.wgsl. Composed twin: kernel::layer_norm::composed.

@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // [rows, width]
@group(0) @binding(1) var<storage, read_write> scale: array<f32>;  // [width]
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;   // [width]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;      // [rows, width]
@group(0) @binding(4) var<storage, read_write> dims: array<u32>;   // rows, width, epsilon (bits of f32)

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    let width = select(0u, dims[1], row < dims[0]);
    let start = row * dims[1];
    let count = f32(dims[1]);
    var sum = 0.0;
    for (var i = lane; i < width; i += 64u) {
        sum += x[start + i];
    }
    let mean = sum_over_lanes(sum, lane) / count;
    var square = 0.0;
    for (var i = lane; i < width; i += 64u) {
        let centred = x[start + i] - mean;
        square += centred * centred;
    }
    let inverse = inverseSqrt(sum_over_lanes(square, lane) / count + bitcast<f32>(dims[2]));
    for (var i = lane; i < width; i += 64u) {
        y[start + i] = (x[start + i] - mean) * inverse * scale[i] + bias[i];
    }
}
