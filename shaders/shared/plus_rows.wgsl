// A product and what is added to it: one row for all tokens (a bias), or a row for each (what a layer adds its output to).

@group(0) @binding(3) var<storage, read_write> bias: array<f32>;  // [1 or tokens, outer]
@group(0) @binding(4) var<storage, read_write> dims: array<u32>;  // as shared/matrix.wgsl lists them

fn plus(sum: f32, row: u32, n: u32) -> f32 {
    return sum + bias[bias_pitch * row + n];
}
