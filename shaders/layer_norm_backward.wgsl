// Gradient of layer_norm.wgsl, one workgroup a row. With r = 1 / sqrt(var(x) + epsilon), n = (x - mean(x)) * r and
// g = dy * scale:
//     dx = r * (g - mean(g) - n * mean(g * n)),   products = dy * n,
// the column sums of products being the gradient of scale. (That of bias is the column sums of dy.)
// Needs shared/reduce.wgsl. Composed twin: autodiff of kernel::layer_norm::composed.

@group(0) @binding(0) var<storage, read_write> x: array<f32>;         // [rows, width]
@group(0) @binding(1) var<storage, read_write> scale: array<f32>;     // [width]
@group(0) @binding(2) var<storage, read_write> dy: array<f32>;        // [rows, width]
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;        // [rows, width]
@group(0) @binding(4) var<storage, read_write> products: array<f32>;  // [rows, width], or [1] where not wanted
@group(0) @binding(5) var<storage, read_write> dims: array<u32>;      // rows, width, products wanted, epsilon (f32 bits)

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
    var grads = 0.0;
    for (var i = lane; i < width; i += 64u) {
        sum += x[start + i];
        grads += dy[start + i] * scale[i];
    }
    let mean = sum_over_lanes(sum, lane) / count;
    let mean_grad = sum_over_lanes(grads, lane) / count;
    var square = 0.0;
    var dot = 0.0;
    for (var i = lane; i < width; i += 64u) {
        let centred = x[start + i] - mean;
        square += centred * centred;
        dot += dy[start + i] * scale[i] * centred;
    }
    let inverse = inverseSqrt(sum_over_lanes(square, lane) / count + bitcast<f32>(dims[3]));
    let shift = sum_over_lanes(dot, lane) * inverse / count;
    for (var i = lane; i < width; i += 64u) {
        let normed = (x[start + i] - mean) * inverse;
        let grad = dy[start + i];
        dx[start + i] = inverse * (grad * scale[i] - mean_grad - normed * shift);
        if dims[2] == 1u {
            products[start + i] = grad * normed;
        }
    }
}
