// Single numbers of a frozen matrix in f32, whatever the width of its rows.

@group(0) @binding(1) var<storage, read_write> w: array<f32>;  // [rows, width]

fn number(at: u32) -> f32 {
    return w[at];
}
