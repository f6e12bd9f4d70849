// The optimizer step of one wholly trained tensor: clip and AdamW, in place, one invocation a number.
// Needs shared/adamw.wgsl in front. Composed twin: kernel::dense_step::composed.

@group(0) @binding(0) var<storage, read_write> weight: array<f32>;   // [count]
@group(0) @binding(1) var<storage, read_write> moments: array<f32>;  // [2, count], AdamW's first and second moment
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;     // [count]
@group(0) @binding(3) var<storage, read_write> norm: array<f32>;     // [1], squared global norm of the gradient
@group(0) @binding(4) var<storage, read_write> settings: StepSettings;

struct StepSettings {
    optimizer: AdamW,
    count: u32,
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
    let updated = adamw(weight[n], moments[n], moments[count + n], grad[n] * clip_factor(norm[0], h.max_norm), h);
    weight[n] = updated.value;
    moments[n] = updated.first;
    moments[count + n] = updated.second;
}
