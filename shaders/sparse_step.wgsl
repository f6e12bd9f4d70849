// The whole optimizer step of one sparse tensor, one invocation a selected entry: clip, AdamW on the delta, and the
// write of base + delta into the weight in place. The weight is computed anew from the f32 masters and never accumulated.
// Needs shared/adamw.wgsl and shared/write_*.wgsl in front. Composed twin: kernel::sparse_step::composed.

@group(0) @binding(1) var<storage, read_write> indices: array<u32>;  // [count], flat into weight, unique
@group(0) @binding(2) var<storage, read_write> base: array<f32>;     // [count], the pretrained values
@group(0) @binding(3) var<storage, read_write> delta: array<f32>;    // [count], what is trained
@group(0) @binding(4) var<storage, read_write> moments: array<f32>;  // [2, count], AdamW's first and second moment
@group(0) @binding(5) var<storage, read_write> grad: array<f32>;     // [count]
@group(0) @binding(6) var<storage, read_write> norm: array<f32>;     // [1], squared global norm of the gradient
@group(0) @binding(7) var<storage, read_write> settings: StepSettings;

struct StepSettings {
    optimizer: AdamW,
    count: u32,
    weight_len: u32,
}

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let n = id.y * groups.x * 64u + id.x;
    let count = settings.count;
    if n >= count {
        return;
    }
    let h = settings.optimizer;
    let g = grad[n] * clip_factor(norm[0], h.max_norm);
    let updated = adamw(delta[n], moments[n], moments[count + n], g, h);
    delta[n] = updated.value;
    moments[n] = updated.first;
    moments[count + n] = updated.second;
    let index = indices[n];
    if index < settings.weight_len {
        write(index, bitcast<u32>(base[n] + updated.value));
    }
}
