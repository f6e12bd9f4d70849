// Gradient of attention_softmax.wgsl, one workgroup a row: dscores = scale * p * (dp - sum(p * dp)).
// Needs shared/reduce.wgsl. Composed twin: autodiff of kernel::attention_softmax::composed.

@group(0) @binding(0) var<storage, read_write> probabilities: array<f32>;  // [rows, keys]
@group(0) @binding(1) var<storage, read_write> grad: array<f32>;           // [rows, keys], of the probabilities
@group(0) @binding(2) var<storage, read_write> result: array<f32>;         // [rows, keys], of the scores
// rows, keys, width, start, rows per sequence, padded, scale (bits of f32), window, causal (0 or 1)
@group(0) @binding(3) var<storage, read_write> dims: array<u32>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    let keys = select(0u, dims[1], row < dims[0]);
    let visible = select(keys, min(dims[3] + row % dims[2] + 1u, keys), dims[8] == 1u);
    let start = row * dims[1];
    var dot = 0.0;
    for (var key = lane; key < visible; key += 64u) {
        dot += probabilities[start + key] * grad[start + key];
    }
    let total = sum_over_lanes(dot, lane);
    let scale = bitcast<f32>(dims[6]);
    for (var key = lane; key < keys; key += 64u) {
        let at = start + key;
        var value = 0.0;
        if key < visible {
            value = scale * probabilities[at] * (grad[at] - total);
        }
        result[at] = value;
    }
}
