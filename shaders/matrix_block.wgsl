// A product with a frozen matrix, eight tokens and sixteen outer numbers an invocation, summed up in registers and read
// straight from memory: for devices whose caches do what workgroup memory does elsewhere.
// Needs shared/grid.wgsl, shared/matrix.wgsl and shared/weights_*.wgsl in front. Composed twin: kernel::matrix::composed.

const ACROSS: u32 = 8u;  // a workgroup is ACROSS x DOWN invocations
const DOWN: u32 = 4u;

fn four_rows(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]);
}

@compute @workgroup_size(32, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    read_dims();
    let steps = (inner + 3u) / 4u;
    let place = grid_place(group, groups, (outer + 16u * ACROSS - 1u) / (16u * ACROSS));
    let row = 8u * (place.y * DOWN + lane / ACROSS);
    let n = 4u * (place.x * ACROSS + lane % ACROSS);
    if row >= tokens || 4u * n >= outer {
        return;
    }
    // Beyond an edge the last row or vector is read instead, and `store` drops what comes of it.
    let ns = min(n + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>((outer - 1u) / 4u));
    var pieces_0 = pieces_at(0u, ns.x);
    var pieces_1 = pieces_at(0u, ns.y);
    var pieces_2 = pieces_at(0u, ns.z);
    var pieces_3 = pieces_at(0u, ns.w);
    let rows = row + vec4<u32>(0u, 1u, 2u, 3u);
    let top_rows = min(rows, vec4<u32>(tokens - 1u)) * steps;
    let bottom_rows = min(rows + 4u, vec4<u32>(tokens - 1u)) * steps;
    var top_0 = mat4x4<f32>();
    var top_1 = mat4x4<f32>();
    var top_2 = mat4x4<f32>();
    var top_3 = mat4x4<f32>();
    var bottom_0 = mat4x4<f32>();
    var bottom_1 = mat4x4<f32>();
    var bottom_2 = mat4x4<f32>();
    var bottom_3 = mat4x4<f32>();
    for (var k = 0u; k < steps; k++) {
        let w_0 = load(pieces_0, k, ns.x);
        let w_1 = load(pieces_1, k, ns.y);
        let w_2 = load(pieces_2, k, ns.z);
        let w_3 = load(pieces_3, k, ns.w);
        pieces_0 = next(pieces_0);
        pieces_1 = next(pieces_1);
        pieces_2 = next(pieces_2);
        pieces_3 = next(pieces_3);
        let top = four_rows(top_rows + k);
        top_0 += w_0 * top;
        top_1 += w_1 * top;
        top_2 += w_2 * top;
        top_3 += w_3 * top;
        let bottom = four_rows(bottom_rows + k);
        bottom_0 += w_0 * bottom;
        bottom_1 += w_1 * bottom;
        bottom_2 += w_2 * bottom;
        bottom_3 += w_3 * bottom;
    }
    // One write in loops, before which the sums move up: a driver compiles a thirty-second of what all writes would be. Bounds
    // that it does not know keep it from unrolling them again.
    for (var first = row; first < row + 8u; first += 4u) {
        for (var four = n; four < n + 4u; four++) {
            for (var at = first; at < first + 4u; at++) {
                store(at, four, top_0[0]);
                top_0 = mat4x4<f32>(top_0[1], top_0[2], top_0[3], top_0[3]);
            }
            top_0 = top_1;
            top_1 = top_2;
            top_2 = top_3;
            top_3 = bottom_0;
            bottom_0 = bottom_1;
            bottom_1 = bottom_2;
            bottom_2 = bottom_3;
        }
    }
}
