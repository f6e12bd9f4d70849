// Rows of a matrix that is split by rows, as far as they are in one of its blocks: one number an invocation. What is in
// other blocks stays as it is. With rows of one number it picks single numbers.
// Needs shared/number_*.wgsl in front. Composed twin: a selection from the whole matrix.

@group(0) @binding(0) var<storage, read_write> ids: array<u32>;   // [count], rows of the whole matrix
@group(0) @binding(2) var<storage, read_write> out: array<f32>;   // [count, width]
@group(0) @binding(3) var<storage, read_write> dims: array<u32>;  // count, width, rows of the block, the first of them

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let width = dims[1];
    let item = id.y * groups.x * 64u + id.x;
    if item >= dims[0] * width {
        return;
    }
    // Rows before the block wrap around to huge numbers.
    let row = ids[item / width] - dims[3];
    if row < dims[2] {
        out[item] = number(row * width + item % width);
    }
}
