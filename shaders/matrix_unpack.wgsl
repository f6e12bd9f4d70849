// Rows of a packed matrix in f32, four numbers an invocation. With rows of one number it picks single numbers.
// Needs shared/weights_*.wgsl in front, and the constant QUANTIZED (1 or 0). Composed twin: kernel::matrix::Packed::values.

@group(0) @binding(0) var<storage, read_write> ids: array<u32>;   // [count], rows; beyond the last: zeros
@group(0) @binding(2) var<storage, read_write> out: array<f32>;   // [count, width]
@group(0) @binding(3) var<storage, read_write> dims: array<u32>;  // count, width, rows, word where scales begin

var<private> scales_at: u32;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    scales_at = dims[3];
    let width = dims[1];
    let fours = (width + 3u) / 4u;
    let item = id.y * groups.x * 64u + id.x;
    if item >= dims[0] * fours {
        return;
    }
    let row = ids[item / fours];
    let column = 4u * (item % fours);
    let at = row * width + column;
    let left = min(width - column, 4u);
    var four = vec4<f32>();
    if row < dims[2] {
        // Numbers of quantized matrices are read in whole fours; the one that is wanted may be any of them.
        four = weights(at - at % 4u * QUANTIZED, left);
    }
    for (var i = 0u; i < left; i++) {
        out[item / fours * width + column + i] = four[i + at % 4u * QUANTIZED];
    }
}
