// Gradient of the selected entries of an embedding table, one invocation an entry:
//     grad[n] = sum over t with ids[t] == row(n) of dy[t, col(n)],   row = index / width, col = index % width.
// The tokens of a row are neighbours in `sorted`, in order: only they are read, and added up in that order.
// Composed twin: kernel::embedding_gather::composed.

@group(0) @binding(0) var<storage, read_write> sorted: array<u32>;   // [2, tokens]: ids in order, then their tokens (sort_ids.wgsl)
@group(0) @binding(1) var<storage, read_write> dy: array<f32>;       // [tokens, width]
@group(0) @binding(2) var<storage, read_write> indices: array<u32>;  // [count], flat into [vocabulary, width]
@group(0) @binding(3) var<storage, read_write> grad: array<f32>;     // [count]
@group(0) @binding(4) var<storage, read_write> dims: array<u32>;     // tokens, width, count

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let tokens = dims[0];
    let width = dims[1];
    let n = id.y * groups.x * 64u + id.x;
    if n >= dims[2] {
        return;
    }
    let row = indices[n] / width;
    let col = indices[n] % width;
    // The first token of the row, or of one behind it.
    var first = 0u;
    var end = tokens;
    while first < end {
        let middle = first + (end - first) / 2u;
        if sorted[middle] < row {
            first = middle + 1u;
        } else {
            end = middle;
        }
    }
    var sum = 0.0;
    for (var at = first; at < tokens; at++) {
        if sorted[at] != row {
            break;
        }
        sum += dy[sorted[tokens + at] * width + col];
    }
    grad[n] = sum;
}
