// Four neighbours of a matrix of signed bytes. Needs shared/weights_quantized.wgsl. Rows are whole groups of 32.

fn weights(at: u32, left: u32) -> vec4<f32> {
    let bytes = vec4<i32>(vec4<u32>(w[at / 4u]) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
    return scale_of(at) * vec4<f32>(bytes);
}
