// Attention probabilities of each row of scores under a mask, one workgroup a row; hidden keys get 0, and so do all
// keys of a row that may see none.
// Needs shared/reduce.wgsl. Composed twin: kernel::attention_softmax::composed.

@group(0) @binding(0) var<storage, read_write> scores: array<f32>;   // [rows, keys]
@group(0) @binding(1) var<storage, read_write> padding: array<u32>;  // [sequences, keys], 0 = padding; unread if dims[5] = 0
@group(0) @binding(2) var<storage, read_write> result: array<f32>;   // [rows, keys]
// rows, keys, width, start, rows per sequence, padded (0 or 1), scale (bits of f32), window (0 = none),
// causal (0 or 1)
@group(0) @binding(3) var<storage, read_write> dims: array<u32>;

fn kept(sequence: u32, key: u32) -> bool {
    return dims[5] == 0u || padding[sequence * dims[1] + key] != 0u;
}

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    let inside = row < dims[0];
    let keys = select(0u, dims[1], inside);
    let causal = dims[8] == 1u;
    let visible = select(keys, min(dims[3] + row % dims[2] + 1u, keys), causal);
    let first = select(0u, visible - min(visible, dims[7]), causal && dims[7] > 0u);
    let sequence = row / dims[4];
    let start = row * dims[1];
    let scale = bitcast<f32>(dims[6]);

    var top = -3.0e38;
    for (var key = first + lane; key < visible; key += 64u) {
        if kept(sequence, key) {
            top = max(top, scores[start + key]);
        }
    }
    let largest = largest_over_lanes(top, lane);
    var sum = 0.0;
    for (var key = first + lane; key < visible; key += 64u) {
        if kept(sequence, key) {
            sum += exp((scores[start + key] - largest) * scale);
        }
    }
    // A sum is at least 1 where a key is visible, that of the largest score.
    let inverse = 1.0 / max(sum_over_lanes(sum, lane), 1.0e-30);
    for (var key = lane; key < keys; key += 64u) {
        var probability = 0.0;
        if key >= first && key < visible && kept(sequence, key) {
            probability = exp((scores[start + key] - largest) * scale) * inverse;
        }
        result[start + key] = probability;
    }
}
