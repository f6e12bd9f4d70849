// The gradient of a weight by tiles of TILE rows and columns in workgroup memory. A workgroup is LANES x LANES lanes; each sums
// up eight rows and eight columns of a tile in registers, two vectors of each that lie LANES vectors apart, so that
// neighbouring lanes read neighbouring vectors. Both matrices are stored as the tiles want them: a token's row is read
// and written in lines, without conflicts of banks. The next tile is read from memory while this one is multiplied.
// Needs the constant LANES (8 or 16), shared/grid.wgsl and shared/weight_gradient.wgsl in front.
// Composed twin: kernel::weight_gradient::composed.

const TILE: u32 = 8u * LANES;
const VECTORS: u32 = 2u * LANES;  // of a tile's row
const DEPTH: u32 = LANES;         // tokens of a tile
const COUNT: u32 = LANES * LANES;

var<workgroup> left_tile: array<vec4<f32>, 2u * LANES * LANES>;   // [DEPTH, VECTORS]
var<workgroup> right_tile: array<vec4<f32>, 2u * LANES * LANES>;  // likewise

fn of_left(token: u32, end: u32, vector: u32, width: u32) -> vec4<f32> {
    if token < end && vector < width {
        return left[token * width + vector];
    }
    return vec4<f32>();
}

fn of_right(token: u32, end: u32, vector: u32, width: u32) -> vec4<f32> {
    if token < end && vector < width {
        return right[token * width + vector];
    }
    return vec4<f32>();
}

@compute @workgroup_size(LANES * LANES, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = grid_place(group, groups, (dims[2] + TILE - 1u) / TILE);
    let part = place.y / dims[4];
    let first_row = TILE * (place.y % dims[4]);
    let first_column = TILE * place.x;
    let left_width = (dims[1] + 3u) / 4u;
    let right_width = (dims[2] + 3u) / 4u;
    // Loops with barriers want bounds of which the compiler knows that all lanes have the same. The tiles of 128 by 128 are all
    // the workgroup memory that WebGPU promises, so they pass through a tile: in f32, which counts the tokens exactly up to 2^24.
    if lane == 0u {
        left_tile[0] = vec4<f32>(f32(part * dims[3]), f32(min(dims[0], part * dims[3] + dims[3])), 0.0, 0.0);
    }
    let bounds = workgroupUniformLoad(&left_tile[0]);
    let begin = u32(bounds.x);
    let end = u32(bounds.y);

    // What the lane loads of each tile: a vector of two tokens.
    let depth_0 = lane / VECTORS;
    let depth_1 = depth_0 + LANES / 2u;
    let left_vector = first_row / 4u + lane % VECTORS;
    let right_vector = first_column / 4u + lane % VECTORS;
    // 32 lanes that run together are 8 x 4 of all: they read the fewest banks of workgroup memory.
    let across = 8u * (lane / 32u % (LANES / 8u)) + lane % 8u;
    let down = 4u * (lane / (4u * LANES)) + lane / 8u % 4u;

    var top_left = mat4x4<f32>();
    var top_right = mat4x4<f32>();
    var bottom_left = mat4x4<f32>();
    var bottom_right = mat4x4<f32>();
    var left_0 = of_left(begin + depth_0, end, left_vector, left_width);
    var left_1 = of_left(begin + depth_1, end, left_vector, left_width);
    var right_0 = of_right(begin + depth_0, end, right_vector, right_width);
    var right_1 = of_right(begin + depth_1, end, right_vector, right_width);
    for (var token = begin; token < end; token += DEPTH) {
        workgroupBarrier();
        left_tile[lane] = left_0;
        left_tile[lane + COUNT] = left_1;
        right_tile[lane] = right_0;
        right_tile[lane + COUNT] = right_1;
        workgroupBarrier();
        let next = token + DEPTH;
        left_0 = of_left(next + depth_0, end, left_vector, left_width);
        left_1 = of_left(next + depth_1, end, left_vector, left_width);
        right_0 = of_right(next + depth_0, end, right_vector, right_width);
        right_1 = of_right(next + depth_1, end, right_vector, right_width);
        for (var depth = 0u; depth < DEPTH; depth++) {
            let top = left_tile[depth * VECTORS + down];
            let bottom = left_tile[depth * VECTORS + down + LANES];
            let near = right_tile[depth * VECTORS + across];
            let far = right_tile[depth * VECTORS + across + LANES];
            top_left = more(top_left, top, near);
            top_right = more(top_right, top, far);
            bottom_left = more(bottom_left, bottom, near);
            bottom_right = more(bottom_right, bottom, far);
        }
    }
    if !is_part(part) {
        return;
    }
    let row = first_row + 4u * down;
    let column = first_column + 4u * across;
    put_four(part, row, column, top_left);
    put_four(part, row, column + TILE / 2u, top_right);
    put_four(part, row + TILE / 2u, column, bottom_left);
    put_four(part, row + TILE / 2u, column + TILE / 2u, bottom_right);
}
