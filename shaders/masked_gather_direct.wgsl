// Gradient of the selected entries of a linear weight, one invocation an entry:
//     grad[n] = sum over t of dy[t, row(n)] * x[t, col(n)],   row = index / inputs, col = index % inputs.
// Work is proportional to the number of selected entries: best for sparse masks.
// Composed twin: kernel::masked_gather::composed.

@group(0) @binding(0) var<storage, read_write> x: array<f32>;        // [tokens, inputs]
@group(0) @binding(1) var<storage, read_write> dy: array<f32>;       // [tokens, outputs]
@group(0) @binding(2) var<storage, read_write> indices: array<u32>;  // [count], flat into [outputs, inputs], sorted
@group(0) @binding(3) var<storage, read_write> grad: array<f32>;     // [count]
@group(0) @binding(4) var<storage, read_write> dims: array<u32>;     // tokens, inputs, outputs, count

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let tokens = dims[0];
    let inputs = dims[1];
    let outputs = dims[2];
    // More than 65,535 workgroups are folded into two dimensions.
    let n = id.y * groups.x * 64u + id.x;
    if n >= dims[3] {
        return;
    }
    let index = indices[n];
    var at_dy = index / inputs;
    var at_x = index % inputs;

    // Four partial sums: independent additions overlap, and rounding errors grow more slowly.
    var sums = vec4<f32>(0.0);
    let whole = tokens / 4u;
    for (var block = 0u; block < whole; block++) {
        sums += vec4<f32>(dy[at_dy], dy[at_dy + outputs], dy[at_dy + 2u * outputs], dy[at_dy + 3u * outputs])
            * vec4<f32>(x[at_x], x[at_x + inputs], x[at_x + 2u * inputs], x[at_x + 3u * inputs]);
        at_dy += 4u * outputs;
        at_x += 4u * inputs;
    }
    var sum = (sums.x + sums.y) + (sums.z + sums.w);
    for (var t = 4u * whole; t < tokens; t++) {
        sum += dy[at_dy] * x[at_x];
        at_dy += outputs;
        at_x += inputs;
    }
    grad[n] = sum;
}
