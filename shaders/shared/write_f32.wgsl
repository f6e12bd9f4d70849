// Writing single numbers of a matrix in f32.

@group(0) @binding(0) var<storage, read_write> weight: array<u32>;  // bits of f32

fn write(index: u32, bits: u32) {
    weight[index] = bits;
}
