// The gradient of a weight, eight rows and eight columns an invocation, summed up in registers and read straight from memory:
// for devices whose caches do what workgroup memory does elsewhere.
// Needs shared/grid.wgsl and shared/weight_gradient.wgsl in front. Composed twin: kernel::weight_gradient::composed.

const LANES: u32 = 8u;  // a workgroup is LANES x LANES invocations
const PIECE: u32 = 8u;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = grid_place(group, groups, (dims[2] + PIECE * LANES - 1u) / (PIECE * LANES));
    let part = place.y / dims[4];
    let row = PIECE * (place.y % dims[4] * LANES + lane / LANES);
    let column = PIECE * (place.x * LANES + lane % LANES);
    if row >= dims[1] || column >= dims[2] || !is_part(part) {
        return;
    }
    let left_width = (dims[1] + 3u) / 4u;
    let right_width = (dims[2] + 3u) / 4u;
    let begin = part * dims[3];
    let tokens = min(dims[0], begin + dims[3]) - begin;

    // Beyond the edge the last vector is read instead, and `put` drops what comes of it.
    var at_top = begin * left_width + row / 4u;
    var at_bottom = begin * left_width + min(row / 4u + 1u, left_width - 1u);
    var at_left = begin * right_width + column / 4u;
    var at_right = begin * right_width + min(column / 4u + 1u, right_width - 1u);

    var top_left = mat4x4<f32>();
    var top_right = mat4x4<f32>();
    var bottom_left = mat4x4<f32>();
    var bottom_right = mat4x4<f32>();
    // Two tokens a round: the sums are loaded and stored half as often where they do not fit into registers.
    for (var pair = 0u; pair < tokens / 2u; pair++) {
        let top = left[at_top];
        let next_top = left[at_top + left_width];
        let bottom = left[at_bottom];
        let next_bottom = left[at_bottom + left_width];
        let of_left = right[at_left];
        let next_left = right[at_left + right_width];
        let of_right = right[at_right];
        let next_right = right[at_right + right_width];
        top_left = more(more(top_left, top, of_left), next_top, next_left);
        top_right = more(more(top_right, top, of_right), next_top, next_right);
        bottom_left = more(more(bottom_left, bottom, of_left), next_bottom, next_left);
        bottom_right = more(more(bottom_right, bottom, of_right), next_bottom, next_right);
        at_top += 2u * left_width;
        at_bottom += 2u * left_width;
        at_left += 2u * right_width;
        at_right += 2u * right_width;
    }
    if tokens % 2u == 1u {
        top_left = more(top_left, left[at_top], right[at_left]);
        top_right = more(top_right, left[at_top], right[at_right]);
        bottom_left = more(bottom_left, left[at_bottom], right[at_left]);
        bottom_right = more(bottom_right, left[at_bottom], right[at_right]);
    }
    put_four(part, row, column, top_left);
    put_four(part, row, column + 4u, top_right);
    put_four(part, row + 4u, column, bottom_left);
    put_four(part, row + 4u, column + 4u, bottom_right);
}
