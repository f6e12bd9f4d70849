// Rotary position embedding, one invocation a pair of entries: of the first 2 * half entries of each head the pair
// (i, i + half) is rotated by the angle of its position, the others stay as they are. The backward pass is the rotation by
// the opposite angle.
// Composed twin: kernel::rope::composed.

@group(0) @binding(0) var<storage, read_write> x: array<f32>;     // [tokens, heads * head_dim]
@group(0) @binding(1) var<storage, read_write> cosine: array<f32>;  // [positions, half]
@group(0) @binding(2) var<storage, read_write> sine: array<f32>;  // [positions, half]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;     // as x
@group(0) @binding(4) var<storage, read_write> dims: array<u32>;  // pairs, width, half, positions, backward (0 or 1), head_dim

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let pair = id.y * groups.x * 64u + id.x;
    if pair >= dims[0] {
        return;
    }
    let width = dims[1];
    let half = dims[2];
    let token = pair / (width / 2u);
    let in_row = pair % (width / 2u);
    let pairs_in_head = dims[5] / 2u;
    let i = in_row % pairs_in_head;
    let head = token * width + in_row / pairs_in_head * dims[5];
    if i >= half {
        y[head + 2u * i] = x[head + 2u * i];
        y[head + 2u * i + 1u] = x[head + 2u * i + 1u];
        return;
    }
    let low = head + i;
    let angle = token % dims[3] * half + i;
    let c = cosine[angle];
    let s = select(sine[angle], -sine[angle], dims[4] == 1u);
    let a = x[low];
    let b = x[low + half];
    y[low] = a * c - b * s;
    y[low + half] = b * c + a * s;
}
