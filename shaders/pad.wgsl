// A matrix filled up with zeros, one invocation a number:
//     y[r, c] = x[r, c] inside of x, else 0.
// Composed twin: kernel::pad::composed.

@group(0) @binding(0) var<storage, read_write> x: array<f32>;     // [rows, width]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;     // [count / new width, new width]
@group(0) @binding(2) var<storage, read_write> dims: array<u32>;  // rows, width, new width, count

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    // More than 65,535 workgroups are folded into two dimensions.
    let n = id.y * groups.x * 64u + id.x;
    if n >= dims[3] {
        return;
    }
    let row = n / dims[2];
    let column = n % dims[2];
    var number = 0.0;
    if row < dims[0] && column < dims[1] {
        number = x[row * dims[1] + column];
    }
    y[n] = number;
}
