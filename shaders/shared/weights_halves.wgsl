// Four neighbours of a matrix of 16-bit numbers. Needs `w` and `unpacked` of shared/weights_bf16.wgsl or
// shared/weights_f16.wgsl.

fn weights(at: u32, left: u32) -> vec4<f32> {
    if !RAGGED {
        let words = w[at / 4u];
        return vec4<f32>(unpacked(words.x), unpacked(words.y));
    }
    var four = vec4<f32>();
    for (var i = 0u; i < min(left, 4u); i++) {
        let e = at + i;
        four[i] = unpacked(w[e / 4u][e / 2u % 2u])[e % 2u];
    }
    return four;
}
