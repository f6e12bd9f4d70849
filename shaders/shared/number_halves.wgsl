// Single numbers of a matrix of 16-bit numbers. Needs `w` and `unpacked` of shared/weights_bf16.wgsl or
// shared/weights_f16.wgsl.

fn number(at: u32) -> f32 {
    return unpacked(w[at / 4u][at / 2u % 2u])[at % 2u];
}
