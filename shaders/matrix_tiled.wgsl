// A product with a frozen matrix by tiles of 64 tokens and 64 outer numbers in workgroup memory. A workgroup is 8 x 8
// lanes; lane (a, b) sums up the rows b + 8 i of a tile, i = 0..7, and of each eight outer numbers, in registers.
// Neighbouring lanes read neighbouring vectors of workgroup memory.
// Needs shared/grid.wgsl, shared/matrix.wgsl, shared/weights_*.wgsl, shared/matrix_tile.wgsl and shared/matrix_lanes.wgsl in front.
// Composed twin: kernel::matrix::composed.

const LANES: u32 = 8u;
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
        w_tile[select(at, depth * PITCH + down, ALONG_ROWS)] = tile_weights(at, first_n, k);
    }
}

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    read_dims();
    let steps = all_steps(lane);
    let place = grid_place(group, groups, (outer + TILE - 1u) / TILE);
    let first_row = TILE * place.y;
    let first_n = TILE * place.x;
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
