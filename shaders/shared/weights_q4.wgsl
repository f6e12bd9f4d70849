// Four neighbours of a matrix of signed halves of bytes. Needs shared/weights_quantized.wgsl. Rows are whole groups of 32.

fn weights(at: u32, left: u32) -> vec4<f32> {
    let word = w[at / 8u] >> (4u * (at % 8u));
    let halves = vec4<i32>(vec4<u32>(word) << vec4<u32>(28u, 24u, 20u, 16u)) >> vec4<u32>(28u);
    return scale_of(at) * vec4<f32>(halves);
}
