// A product with a frozen matrix by tiles of 64 tokens and 64 outer numbers in workgroup memory. A workgroup is 8 x 8
// lanes; lane (a, b) sums up the rows b + 8 i of a tile, i = 0..7, and of each the outer numbers `outer_of` gives, in
// registers. Neighbouring lanes read neighbouring vectors of workgroup memory.
// Needs shared/matrix.wgsl and shared/weights_*.wgsl in front. Composed twin: kernel::matrix::composed.

const TILE: u32 = 64u;
const DEPTH: u32 = 4u;   // vectors of four inner numbers in a tile
const PITCH: u32 = 65u;  // vectors from one inner vector to the next: one against bank conflicts

var<workgroup> x_tile: array<vec4<f32>, 260>;  // [DEPTH, TILE rows], x[row, 4 k ..]
var<workgroup> w_tile: array<vec4<f32>, 260>;  // along rows [DEPTH, TILE], W[n, 4 k ..]; across [4 DEPTH, TILE / 4], W[k, 4 n ..]

// Fills the tiles with the inner vectors from `k`; 64 lanes load four vectors of each.
fn fill(lane: u32, first_row: u32, first_n: u32, k: u32) {
    let steps = (inner + 3u) / 4u;
    for (var i = 0u; i < 4u; i++) {
        let at = lane + 64u * i;
        let down = at / DEPTH;
        let depth = at % DEPTH;
        let row = first_row + down;
        var of_x = vec4<f32>();
        if row < tokens && k + depth < steps {
            of_x = x[row * steps + k + depth];
        }
        x_tile[depth * PITCH + down] = of_x;
        var of_w = vec4<f32>();
        if ALONG_ROWS {
            let n = first_n + down;
            let column = 4u * (k + depth);
            if n < outer && column < inner {
                of_w = weights(n * width + column, width - column);
            }
            w_tile[depth * PITCH + down] = of_w;
        } else {
            let inner_row = 4u * k + at / 16u;
            let n = first_n + 4u * (at % 16u);
            if inner_row < inner && n < outer {
                of_w = weights(inner_row * width + n, width - n);
            }
            w_tile[at] = of_w;
        }
    }
}

// The lane's share of the weights at inner vector `depth`, half 0 or 1, as `load` of shared/matrix.wgsl gives it.
fn share(depth: u32, half: u32, across: u32) -> mat4x4<f32> {
    if ALONG_ROWS {
        let at = depth * PITCH + 32u * half + across;
        return transpose(mat4x4<f32>(w_tile[at], w_tile[at + 8u], w_tile[at + 16u], w_tile[at + 24u]));
    }
    let at = 64u * depth + 8u * half + across;
    return mat4x4<f32>(w_tile[at], w_tile[at + 16u], w_tile[at + 32u], w_tile[at + 48u]);
}

// Writes one row's share of half 0 or 1.
fn put(row: u32, first_n: u32, half: u32, across: u32, sums: vec4<f32>) {
    if !ALONG_ROWS {
        let n = first_n / 4u + 8u * half + across;
        if 4u * n < outer {
            store(row, n, sums);
        }
        return;
    }
    if row >= tokens {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        let n = first_n + 32u * half + across + 8u * i;
        if n < outer {
            y[row * outer + n] = sums[i];
        }
    }
}

fn put_four(row: u32, first_n: u32, half: u32, across: u32, sums: mat4x4<f32>) {
    put(row, first_n, half, across, sums[0]);
    put(row + 8u, first_n, half, across, sums[1]);
    put(row + 16u, first_n, half, across, sums[2]);
    put(row + 24u, first_n, half, across, sums[3]);
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    read_dims();
    let steps = (inner + 3u) / 4u;
    let first_row = TILE * group.y;
    let first_n = TILE * group.x;
    let across = lane % 8u;
    let down = lane / 8u;
    var top_left = mat4x4<f32>();
    var top_right = mat4x4<f32>();
    var bottom_left = mat4x4<f32>();
    var bottom_right = mat4x4<f32>();
    for (var k = 0u; k < steps; k += DEPTH) {
        workgroupBarrier();
        fill(lane, first_row, first_n, k);
        workgroupBarrier();
        for (var depth = 0u; depth < DEPTH; depth++) {
            let at = depth * PITCH + down;
            let top = mat4x4<f32>(x_tile[at], x_tile[at + 8u], x_tile[at + 16u], x_tile[at + 24u]);
            let bottom = mat4x4<f32>(x_tile[at + 32u], x_tile[at + 40u], x_tile[at + 48u], x_tile[at + 56u]);
            let left = share(depth, 0u, across);
            let right = share(depth, 1u, across);
            top_left += left * top;
            top_right += right * top;
            bottom_left += left * bottom;
            bottom_right += right * bottom;
        }
    }
    let row = first_row + down;
    put_four(row, first_n, 0u, across, top_left);
    put_four(row, first_n, 1u, across, top_right);
    put_four(row + 32u, first_n, 0u, across, bottom_left);
    put_four(row + 32u, first_n, 1u, across, bottom_right);
}
