// A product with few columns and a factor,
//     y[t, n] = scale * sum over k of x[t, k] * W[n, k]      (ALONG_ROWS: scale * x W^T),
// or with W[k, n] (scale * x W): the way into a low-rank product, where the inner numbers are many and the outer ones a rank.
// A workgroup computes eight tokens by eight outer numbers. Its lanes share the inner numbers, read neighbouring vectors of x, and put
// their sums together in workgroup memory: so few columns still make enough workgroups, and none waits for another.
// The host pads the rows of x and W to a multiple of four numbers with zeros, and finds those of y padded likewise.
// Needs the constant ALONG_ROWS and shared/grid.wgsl in front. Composed twin: kernel::narrow_product::composed.

const LANES: u32 = 64u;
const SUMS: u32 = 16u;  // vectors of sums of a workgroup: [8 tokens, 2]

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;  // [tokens, ceil(inner / 4)]
@group(0) @binding(1) var<storage, read_write> w: array<vec4<f32>>;  // along rows [outer, ceil(inner / 4)], across [inner, ceil(outer / 4)]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;  // [tokens, ceil(outer / 4)]
@group(0) @binding(3) var<storage, read_write> dims: array<u32>;     // tokens, inner, outer, scale (f32 bits)

var<workgroup> partial: array<vec4<f32>, 1024>;  // [SUMS, LANES], each row rotated by its number: against bank conflicts

// 4 x 4 numbers of W as a matrix whose product with inner vector k of x is its share of outer vector n.
fn weights(k: u32, n: u32, steps: u32) -> mat4x4<f32> {
    if ALONG_ROWS {
        // Rows beyond the last count nothing.
        let outer = dims[2];
        let rows = 4u * n + vec4<u32>(0u, 1u, 2u, 3u);
        let at = min(rows, vec4<u32>(outer - 1u)) * steps + k;
        let is_there = vec4<f32>(rows < vec4<u32>(outer));
        return transpose(mat4x4<f32>(
            w[at.x] * is_there.x,
            w[at.y] * is_there.y,
            w[at.z] * is_there.z,
            w[at.w] * is_there.w,
        ));
    }
    // Those beyond the last meet zeros of x.
    let width = (dims[2] + 3u) / 4u;
    let at = min(4u * k + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(dims[1] - 1u)) * width + n;
    return mat4x4<f32>(w[at.x], w[at.y], w[at.z], w[at.w]);
}

fn leave(sum: u32, lane: u32, sums: vec4<f32>) {
    partial[sum * LANES + (lane + sum) % LANES] = sums;
}

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tokens = dims[0];
    let steps = (dims[1] + 3u) / 4u;
    let width = (dims[2] + 3u) / 4u;
    let place = grid_place(group, groups, (dims[2] + 7u) / 8u);
    let first_row = 8u * place.y;
    let first_n = 2u * place.x;
    let next_n = min(first_n + 1u, width - 1u);
    let top_rows = min(first_row + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(tokens - 1u)) * steps;
    let bottom_rows = min(first_row + vec4<u32>(4u, 5u, 6u, 7u), vec4<u32>(tokens - 1u)) * steps;
    var top_left = mat4x4<f32>();
    var top_right = mat4x4<f32>();
    var bottom_left = mat4x4<f32>();
    var bottom_right = mat4x4<f32>();
    for (var k = lane; k < steps; k += LANES) {
        let near = weights(k, first_n, steps);
        let far = weights(k, next_n, steps);
        let top = mat4x4<f32>(x[top_rows.x + k], x[top_rows.y + k], x[top_rows.z + k], x[top_rows.w + k]);
        top_left += near * top;
        top_right += far * top;
        let bottom =
            mat4x4<f32>(x[bottom_rows.x + k], x[bottom_rows.y + k], x[bottom_rows.z + k], x[bottom_rows.w + k]);
        bottom_left += near * bottom;
        bottom_right += far * bottom;
    }
    leave(0u, lane, top_left[0]);
    leave(1u, lane, top_right[0]);
    leave(2u, lane, top_left[1]);
    leave(3u, lane, top_right[1]);
    leave(4u, lane, top_left[2]);
    leave(5u, lane, top_right[2]);
    leave(6u, lane, top_left[3]);
    leave(7u, lane, top_right[3]);
    leave(8u, lane, bottom_left[0]);
    leave(9u, lane, bottom_right[0]);
    leave(10u, lane, bottom_left[1]);
    leave(11u, lane, bottom_right[1]);
    leave(12u, lane, bottom_left[2]);
    leave(13u, lane, bottom_right[2]);
    leave(14u, lane, bottom_left[3]);
    leave(15u, lane, bottom_right[3]);
    workgroupBarrier();
    // Each lane adds up a quarter of one of the sixteen sums.
    let sum = lane % SUMS;
    var quarter = vec4<f32>();
    for (var i = 0u; i < LANES / 4u; i++) {
        quarter += partial[sum * LANES + (LANES / 4u * (lane / SUMS) + i + sum) % LANES];
    }
    workgroupBarrier();
    partial[lane] = quarter;
    workgroupBarrier();
    let row = first_row + lane / 2u;
    let n = first_n + lane % 2u;
    if lane < SUMS && row < tokens && n < width {
        let whole = (partial[lane] + partial[lane + SUMS]) + (partial[lane + 2u * SUMS] + partial[lane + 3u * SUMS]);
        y[row * width + n] = bitcast<f32>(dims[3]) * whole;
    }
}
