// Gradient of cross_entropy.wgsl, one workgroup a row: (softmax(logits[n]) - onehot(targets[n])) * grad[n].
// Needs shared/nan.wgsl, shared/reduce.wgsl and shared/softmax_row.wgsl. Composed twin: autodiff of kernel::cross_entropy::composed.

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;   // [count, vocabulary]
@group(0) @binding(1) var<storage, read_write> targets: array<u32>;  // [count]
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;     // [count]
@group(0) @binding(3) var<storage, read_write> dlogits: array<f32>;  // [count, vocabulary]
@group(0) @binding(4) var<storage, read_write> dims: array<u32>;     // count, vocabulary

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
    if row >= dims[0] {
        return;
    }
    let target_id = targets[row];
    let counts = target_id < vocabulary;
    let scale = grad[row];
    for (var v = lane; v < vocabulary; v += 64u) {
        let probability = exp(logits[start + v] - parts.largest) / parts.sum;
        dlogits[start + v] = select(0.0, (probability - select(0.0, 1.0, v == target_id)) * scale, counts);
    }
}
