// A matrix transposed, four by four numbers an invocation and without workgroup memory, for devices whose caches do its work:
//     y[c, r] = x[r, c].
// Rows of y are padded to a multiple of four numbers with zeros.
// Needs shared/grid.wgsl in front. Composed twin: Tensor::transpose.

@group(0) @binding(0) var<storage, read_write> x: array<f32>;        // [rows, width]
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;  // [width, ceil(rows / 4)]
@group(0) @binding(2) var<storage, read_write> dims: array<u32>;     // rows, width

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let width = dims[1];
    let place = grid_place(group, groups, (width + 255u) / 256u);
    if 4u * place.y >= dims[0] {
        return;
    }
    let four = 4u * place.y + vec4<u32>(0u, 1u, 2u, 3u);
    let there = four < vec4<u32>(dims[0]);
    // The last row stands in for those behind it, which are then taken as zeros.
    let rows = min(four, vec4<u32>(dims[0] - 1u)) * width;
    let first = 4u * (64u * place.x + lane);
    for (var column = first; column < min(first + 4u, width); column++) {
        let numbers = vec4<f32>(x[rows.x + column], x[rows.y + column], x[rows.z + column], x[rows.w + column]);
        y[column * ((dims[0] + 3u) / 4u) + place.y] = select(vec4<f32>(), numbers, there);
    }
}
