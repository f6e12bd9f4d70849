// Gradient of cross_entropy.wgsl, one workgroup a row: (softmax(logits[n]) - onehot(targets[n])) * grad[n].
// Composed twin: autodiff of kernel::cross_entropy::composed.

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;   // [count, vocabulary]
@group(0) @binding(1) var<storage, read_write> targets: array<u32>;  // [count]
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;     // [count]
@group(0) @binding(3) var<storage, read_write> dlogits: array<f32>;  // [count, vocabulary]
@group(0) @binding(4) var<storage, read_write> dims: array<u32>;     // count, vocabulary

// Per lane: the largest logit seen, and the sum of exp(logit - largest).
var<workgroup> largest: array<f32, 64>;
var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    let inside = row < dims[0];
    let vocabulary = select(0u, dims[1], inside);
    let start = row * dims[1];
    var top = -3.0e38;
    var sum = 0.0;
    for (var v = lane; v < vocabulary; v += 64u) {
        let logit = logits[start + v];
        let higher = max(top, logit);
        sum = sum * exp(top - higher) + exp(logit - higher);
        top = higher;
    }
    largest[lane] = top;
    sums[lane] = sum;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if lane < half {
            let higher = max(largest[lane], largest[lane + half]);
            sums[lane] = sums[lane] * exp(largest[lane] - higher) + sums[lane + half] * exp(largest[lane + half] - higher);
            largest[lane] = higher;
        }
        workgroupBarrier();
    }
    if !inside {
        return;
    }
    let target_id = targets[row];
    let scale = select(0.0, grad[row], target_id < vocabulary);
    for (var v = lane; v < vocabulary; v += 64u) {
        let probability = exp(logits[start + v] - largest[0]) / sums[0];
        dlogits[start + v] = (probability - select(0.0, 1.0, v == target_id)) * scale;
    }
}
