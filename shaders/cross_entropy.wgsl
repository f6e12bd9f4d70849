// Cross-entropy of each row of logits against its target, one workgroup a row:
//     losses[n] = log(sum over v of exp(logits[n, v])) - logits[n, targets[n]], and 0 for a target outside the vocabulary.
// Needs shared/nan.wgsl, shared/reduce.wgsl and shared/softmax_row.wgsl. Composed twin: kernel::cross_entropy::composed.

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;   // [count, vocabulary]
@group(0) @binding(1) var<storage, read_write> targets: array<u32>;  // [count]
@group(0) @binding(2) var<storage, read_write> losses: array<f32>;   // [count]
@group(0) @binding(3) var<storage, read_write> dims: array<u32>;     // count, vocabulary

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    let vocabulary = select(0u, dims[1], row < dims[0]);
    let start = row * dims[1];
    let parts = softmax_parts(start, vocabulary, lane);
    if lane == 0u && row < dims[0] {
        let target_id = targets[row];
        var loss = 0.0;
        if target_id < vocabulary {
            loss = parts.largest + log(parts.sum) - logits[start + target_id];
        }
        losses[row] = loss;
    }
}
