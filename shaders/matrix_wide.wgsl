// A product with a frozen matrix by tiles of 128 tokens and 128 outer numbers in workgroup memory, for GPUs that want much
// arithmetic for each number read. A workgroup is 16 x 16 lanes; lane (a, b) sums up the rows b + 16 i of a tile, i = 0..7,
// and of each eight outer numbers, in registers. The next tile is read from memory while this one is multiplied.
// Needs shared/grid.wgsl, shared/matrix.wgsl, shared/weights_*.wgsl, shared/matrix_tile.wgsl and shared/matrix_lanes.wgsl in front.
// Composed twin: kernel::matrix::composed.

const LANES: u32 = 16u;
const TILE: u32 = 128u;
const DEPTH: u32 = 2u;    // vectors of four inner numbers in a tile
const PITCH: u32 = 129u;  // vectors from one inner vector to the next: one against bank conflicts

var<workgroup> x_tile: array<vec4<f32>, 258>;  // [DEPTH, TILE rows], x[row, 4 k ..]
var<workgroup> w_tile: array<vec4<f32>, 258>;  // along rows [DEPTH, TILE], W[n, 4 k ..]; across [4 DEPTH, TILE / 4], W[k, 4 n ..]

// The vector of x that a lane loads for the tile whose first row is `first_row`, from inner vector `k`.
fn of_x(lane: u32, first_row: u32, k: u32, steps: u32) -> vec4<f32> {
    let row = first_row + lane / DEPTH;
    let depth = k + lane % DEPTH;
    if row < tokens && depth < steps {
        return x[row * steps + depth];
    }
    return vec4<f32>();
}

// One row's sums with four inner numbers more.
fn more(sums: vec4<f32>, w: mat4x4<f32>, of_row: vec4<f32>) -> vec4<f32> {
    var all = fma(w[0], vec4<f32>(of_row.x), sums);
    all = fma(w[1], vec4<f32>(of_row.y), all);
    all = fma(w[2], vec4<f32>(of_row.z), all);
    return fma(w[3], vec4<f32>(of_row.w), all);
}

fn four_more(sums: mat4x4<f32>, w: mat4x4<f32>, rows: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        more(sums[0], w, rows[0]),
        more(sums[1], w, rows[1]),
        more(sums[2], w, rows[2]),
        more(sums[3], w, rows[3]),
    );
}

@compute @workgroup_size(256, 1, 1)
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
    // 32 lanes that run together are 8 x 4 of the 16 x 16: they read the fewest banks of workgroup memory.
    let across = 8u * (lane / 32u % 2u) + lane % 8u;
    let down = 4u * (lane / 64u) + lane / 8u % 4u;
    let x_to = (lane % DEPTH) * PITCH + lane / DEPTH;
    let w_to = select(lane, x_to, ALONG_ROWS);
    var top_left = mat4x4<f32>();
    var top_right = mat4x4<f32>();
    var bottom_left = mat4x4<f32>();
    var bottom_right = mat4x4<f32>();
    var next_x = of_x(lane, first_row, 0u, steps);
    var next_w = tile_weights(lane, first_n, 0u);
    for (var k = 0u; k < steps; k += DEPTH) {
        workgroupBarrier();
        x_tile[x_to] = next_x;
        w_tile[w_to] = next_w;
        workgroupBarrier();
        next_x = of_x(lane, first_row, k + DEPTH, steps);
        next_w = tile_weights(lane, first_n, k + DEPTH);
        for (var depth = 0u; depth < DEPTH; depth++) {
            let at = depth * PITCH + down;
            let left = share(depth, 0u, across);
            let right = share(depth, 1u, across);
            let top = mat4x4<f32>(x_tile[at], x_tile[at + 16u], x_tile[at + 32u], x_tile[at + 48u]);
            top_left = four_more(top_left, left, top);
            top_right = four_more(top_right, right, top);
            let bottom = mat4x4<f32>(x_tile[at + 64u], x_tile[at + 80u], x_tile[at + 96u], x_tile[at + 112u]);
            bottom_left = four_more(bottom_left, left, bottom);
            bottom_right = four_more(bottom_right, right, bottom);
        }
    }
    let row = first_row + down;
    put_four(row, first_n, 0u, across, top_left);
    put_four(row, first_n, 1u, across, top_right);
    put_four(row + 64u, first_n, 0u, across, bottom_left);
    put_four(row + 64u, first_n, 1u, across, bottom_right);
}
