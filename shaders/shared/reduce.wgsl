// Reductions over the 64 lanes of a workgroup. All lanes must call, and all get the result.

var<workgroup> partials: array<f32, 64>;

fn sum_over_lanes(value: f32, lane: u32) -> f32 {
    partials[lane] = value;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if lane < half {
            partials[lane] += partials[lane + half];
        }
        workgroupBarrier();
    }
    let total = partials[0];
    // Nobody may write the next value before everybody has read this one.
    workgroupBarrier();
    return total;
}

fn largest_over_lanes(value: f32, lane: u32) -> f32 {
    partials[lane] = value;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if lane < half {
            partials[lane] = max(partials[lane], partials[lane + half]);
        }
        workgroupBarrier();
    }
    let top = partials[0];
    workgroupBarrier();
    return top;
}
