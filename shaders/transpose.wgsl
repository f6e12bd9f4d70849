// A matrix transposed, through tiles of 32 x 32 numbers in workgroup memory, so that both sides are read and written in lines:
//     y[c, r] = x[r, c].
// Rows of y are padded to a multiple of four numbers with zeros.
// Needs shared/grid.wgsl in front. Composed twin: Tensor::transpose.

const TILE: u32 = 32u;
const PITCH: u32 = 33u;  // one against bank conflicts

@group(0) @binding(0) var<storage, read_write> x: array<f32>;     // [rows, width]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;     // [width, 4 ceil(rows / 4)]
@group(0) @binding(2) var<storage, read_write> dims: array<u32>;  // rows, width

var<workgroup> tile: array<f32, 1056>;  // [TILE, PITCH]

@compute @workgroup_size(256, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let rows = dims[0];
    let width = dims[1];
    let stride = (rows + 3u) / 4u * 4u;
    let place = grid_place(group, groups, (width + TILE - 1u) / TILE);
    let first_row = TILE * place.y;
    let first_column = TILE * place.x;
    let across = lane % TILE;
    for (var down = lane / TILE; down < TILE; down += 8u) {
        let row = first_row + down;
        let column = first_column + across;
        var number = 0.0;
        if row < rows && column < width {
            number = x[row * width + column];
        }
        tile[down * PITCH + across] = number;
    }
    workgroupBarrier();
    for (var down = lane / TILE; down < TILE; down += 8u) {
        let row = first_column + down;
        let column = first_row + across;
        if row < width && column < stride {
            y[row * stride + column] = tile[across * PITCH + down];
        }
    }
}
