// The parts of one row's softmax, by the 64 lanes of a workgroup. Needs nan.wgsl, reduce.wgsl and a binding `logits`.

struct SoftmaxParts {
    largest: f32,
    sum: f32,  // of exp(logit - largest)
}

// `count` logits from `start`; all lanes must call. The sum is NaN where there is no softmax: a logit is NaN or infinity, or all
// are negative infinity.
fn softmax_parts(start: u32, count: u32, lane: u32) -> SoftmaxParts {
    var top = -3.0e38;
    var undefined = false;
    for (var v = lane; v < count; v += 64u) {
        let logit = logits[start + v];
        undefined = undefined || is_nan(logit) || bitcast<u32>(logit) == 0x7f800000u;
        top = max(top, logit);
    }
    let largest = largest_over_lanes(top, lane);
    var sum = 0.0;
    for (var v = lane; v < count; v += 64u) {
        sum += exp(logits[start + v] - largest);
    }
    let total = sum_over_lanes(select(sum, nan(), undefined), lane);
    // At least 1 otherwise, that of the largest logit.
    return SoftmaxParts(largest, select(total, nan(), total < 0.5));
}
