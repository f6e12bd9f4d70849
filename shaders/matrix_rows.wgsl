// A product of few tokens with a frozen matrix: a workgroup computes 32 outer numbers of one token, and eight lanes share
// the inner numbers of four of them. Neighbouring lanes read neighbouring vectors of W.
// Needs shared/grid.wgsl, shared/matrix.wgsl and shared/weights_*.wgsl in front. Composed twin: kernel::matrix::composed.

const SHARERS: u32 = 8u;

var<workgroup> partial: array<vec4<f32>, 64>;  // [SHARERS, 8 fours of outer numbers]

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    read_dims();
    let steps = (inner + 3u) / 4u;
    let four = select(lane % 8u, lane / 8u, ALONG_ROWS);
    let sharer = select(lane / 8u, lane % 8u, ALONG_ROWS);
    let place = grid_place(group, groups, (outer + 31u) / 32u);
    let row = place.y;
    let n = 8u * place.x + four;
    var sums = vec4<f32>();
    if row < tokens && 4u * n < outer {
        for (var k = sharer; k < steps; k += SHARERS) {
            sums += load(pieces_at(k, n), k, n) * x[row * steps + k];
        }
    }
    partial[8u * sharer + four] = sums;
    workgroupBarrier();
    if lane < 8u && 4u * (8u * place.x + lane) < outer {
        var total = vec4<f32>();
        for (var i = 0u; i < SHARERS; i++) {
            total += partial[8u * i + lane];
        }
        store(row, 8u * place.x + lane, total);
    }
}
