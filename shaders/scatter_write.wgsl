// Writes values into the selected places of a weight, in place: applies an adapter (base + delta) or restores the
// original (base) bit for bit. Of a weight that is split by rows it writes one block. Needs shared/write_*.wgsl in front.
// Composed twin: kernel::scatter_write::composed.

@group(0) @binding(1) var<storage, read_write> indices: array<u32>;  // [count], flat, unique
@group(0) @binding(2) var<storage, read_write> values: array<u32>;   // [count], bits of f32
@group(0) @binding(3) var<storage, read_write> dims: array<u32>;     // count, weight_len, the index of the first number

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let n = id.y * groups.x * 64u + id.x;
    if n >= dims[0] {
        return;
    }
    // Places before the block wrap around to huge numbers.
    let place = indices[n] - dims[2];
    if place < dims[1] {
        write(place, values[n]);
    }
}
