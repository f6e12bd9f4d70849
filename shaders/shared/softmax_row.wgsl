// The parts of one row's softmax, by the 64 lanes of a workgroup. Needs reduce.wgsl and a binding `logits`.

struct SoftmaxParts {
    largest: f32,
    sum: f32,  // of exp(logit - largest)
}

// `count` logits from `start`; all lanes must call.
fn softmax_parts(start: u32, count: u32, lane: u32) -> SoftmaxParts {
    var top = -3.0e38;
    for (var v = lane; v < count; v += 64u) {
        top = max(top, logits[start + v]);
    }
    let largest = largest_over_lanes(top, lane);
    var sum = 0.0;
    for (var v = lane; v < count; v += 64u) {
        sum += exp(logits[start + v] - largest);
    }
    return SoftmaxParts(largest, sum_over_lanes(sum, lane));
}
