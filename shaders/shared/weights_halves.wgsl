// Four neighbours of a matrix of 16-bit numbers. Needs `w` and `unpacked` of shared/weights_bf16.wgsl or
// shared/weights_f16.wgsl.

fn half_at(e: u32) -> f32 {
    return unpacked(w[e / 4u][e / 2u % 2u])[e % 2u];
}

fn weights(at: u32, left: u32) -> vec4<f32> {
    if !RAGGED {
        let words = w[at / 4u];
        return vec4<f32>(unpacked(words.x), unpacked(words.y));
    }
    // Beyond the row its last number is read, and not used.
    let last = min(left, 4u) - 1u;
    return vec4<f32>(
        half_at(at),
        select(0.0, half_at(at + min(1u, last)), last >= 1u),
        select(0.0, half_at(at + min(2u, last)), last >= 2u),
        select(0.0, half_at(at + last), last >= 3u),
    );
}
