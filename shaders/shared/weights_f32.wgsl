// A frozen matrix in f32, whose rows are multiples of four numbers.

@group(0) @binding(1) var<storage, read_write> w: array<vec4<f32>>;  // [rows, width / 4]

fn weights(at: u32, left: u32) -> vec4<f32> {
    return w[at / 4u];
}
