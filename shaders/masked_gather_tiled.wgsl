// The same gradient as masked_gather_direct.wgsl, for dense masks: each invocation forms a dense 8 x 8 piece of
// dy^T x in registers, writes the selected entries of it and discards the rest. No weight-shaped gradient exists in
// memory at any time.
// x and dy are read four columns at a time: the host pads their rows to a multiple of four. dims and indices count the
// true widths.
// Needs shared/grid.wgsl in front. Composed twin: kernel::masked_gather::composed.

const LANES: u32 = 8u;   // a workgroup is LANES x LANES invocations
const PIECE: u32 = 8u;   // rows (outputs) and columns (inputs) of an invocation, so a workgroup covers 64 x 64

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;   // [tokens, ceil(inputs / 4)]
@group(0) @binding(1) var<storage, read_write> dy: array<vec4<f32>>;  // [tokens, ceil(outputs / 4)]
@group(0) @binding(2) var<storage, read_write> indices: array<u32>;   // [count], flat into [outputs, inputs], sorted
@group(0) @binding(3) var<storage, read_write> grad: array<f32>;      // [count]
@group(0) @binding(4) var<storage, read_write> dims: array<u32>;      // tokens, inputs, outputs, count

// Position of the first selected index that is not below `bound`.
fn lower_bound(bound: u32, count: u32) -> u32 {
    var low = 0u;
    var high = count;
    while low < high {
        let middle = low + (high - low) / 2u;
        if indices[middle] < bound {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}

// Four rows (a) by four columns (b); element [r] of the result is a row.
fn outer(a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(a.x * b, a.y * b, a.z * b, a.w * b);
}

// Writes the selected entries among eight neighbouring columns of a row.
fn keep(left: vec4<f32>, right: vec4<f32>, row: u32, col: u32) {
    let inputs = dims[1];
    if row >= dims[2] || col >= inputs {
        return;
    }
    let start = row * inputs + col;
    let end = row * inputs + min(col + PIECE, inputs);
    let count = dims[3];
    var n = lower_bound(start, count);
    while n < count {
        let at = indices[n] - start;
        if at >= end - start {
            break;
        }
        grad[n] = select(left, right, at >= 4u)[at % 4u];
        n++;
    }
}

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tokens = dims[0];
    let x_width = (dims[1] + 3u) / 4u;
    let dy_width = (dims[2] + 3u) / 4u;
    let place = grid_place(group, groups, (dims[1] + PIECE * LANES - 1u) / (PIECE * LANES));
    let col = PIECE * (place.x * LANES + lane % LANES);
    let row = PIECE * (place.y * LANES + lane / LANES);

    // Beyond the edge the last vector is read instead, and `keep` drops what comes of it. Neighbours read the same
    // vectors, so caches do the work of workgroup memory, without barriers.
    var x_left = min(col / 4u, x_width - 1u);
    var x_right = min(col / 4u + 1u, x_width - 1u);
    var dy_top = min(row / 4u, dy_width - 1u);
    var dy_bottom = min(row / 4u + 1u, dy_width - 1u);

    var top_left = mat4x4<f32>();
    var top_right = mat4x4<f32>();
    var bottom_left = mat4x4<f32>();
    var bottom_right = mat4x4<f32>();
    // Two tokens a round: the sums are loaded and stored half as often where they do not fit into registers.
    for (var pair = 0u; pair < tokens / 2u; pair++) {
        let left = x[x_left];
        let next_left = x[x_left + x_width];
        let right = x[x_right];
        let next_right = x[x_right + x_width];
        let top = dy[dy_top];
        let next_top = dy[dy_top + dy_width];
        let bottom = dy[dy_bottom];
        let next_bottom = dy[dy_bottom + dy_width];
        top_left += outer(top, left) + outer(next_top, next_left);
        top_right += outer(top, right) + outer(next_top, next_right);
        bottom_left += outer(bottom, left) + outer(next_bottom, next_left);
        bottom_right += outer(bottom, right) + outer(next_bottom, next_right);
        x_left += 2u * x_width;
        x_right += 2u * x_width;
        dy_top += 2u * dy_width;
        dy_bottom += 2u * dy_width;
    }
    if tokens % 2u == 1u {
        top_left += outer(dy[dy_top], x[x_left]);
        top_right += outer(dy[dy_top], x[x_right]);
        bottom_left += outer(dy[dy_bottom], x[x_left]);
        bottom_right += outer(dy[dy_bottom], x[x_right]);
    }

    // One call in a loop, after which the rows move up: a driver compiles an eighth of what all calls would be.
    for (var at = row; at < row + PIECE; at++) {
        keep(top_left[0], top_right[0], at, col);
        top_left = mat4x4<f32>(top_left[1], top_left[2], top_left[3], bottom_left[0]);
        top_right = mat4x4<f32>(top_right[1], top_right[2], top_right[3], bottom_right[0]);
        bottom_left = mat4x4<f32>(bottom_left[1], bottom_left[2], bottom_left[3], bottom_left[3]);
        bottom_right = mat4x4<f32>(bottom_right[1], bottom_right[2], bottom_right[3], bottom_right[3]);
    }
}
