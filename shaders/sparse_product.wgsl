// Adds a product with a sparse matrix D to y, in place, one invocation a number of y:
//     y[t, o] += sum over the entries n of line o of input[t, other(n)] * delta[n].
// The lines are the rows of D as it is stored, whose entries are neighbours (shared/sparse_rows.wgsl), or its columns,
// whose entries are listed (shared/sparse_columns.wgsl). Needs one of the two in front.
// Composed twin: kernel::sparse_product::composed.

@group(0) @binding(0) var<storage, read_write> input: array<f32>;    // [tokens, inner]
@group(0) @binding(1) var<storage, read_write> delta: array<f32>;    // [count]
@group(0) @binding(2) var<storage, read_write> offsets: array<u32>;  // [outer + 1], where each line begins
@group(0) @binding(3) var<storage, read_write> indices: array<u32>;  // [count], flat into D, sorted
@group(0) @binding(4) var<storage, read_write> y: array<f32>;        // [tokens, outer]

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let inner = dims[1];
    let outer = dims[2];
    let width = dims[3];
    let item = id.y * groups.x * 64u + id.x;
    if item >= dims[0] * outer {
        return;
    }
    let line = item % outer;
    let start = item / outer * inner;
    let end = offsets[line + 1u];
    var sum = 0.0;
    for (var at = offsets[line]; at < end; at++) {
        let n = entry(at);
        sum += input[start + other(indices[n], width)] * delta[n];
    }
    y[item] += sum;
}
