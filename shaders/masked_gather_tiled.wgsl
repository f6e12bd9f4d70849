// The same gradient as masked_gather_direct.wgsl, for dense masks: each invocation forms a dense 4 x 4 piece of
// dy^T x in registers, writes the selected entries of it and discards the rest. No weight-shaped gradient exists in
// memory at any time.
// Composed twin: kernel::masked_gather::composed.

const TILE: u32 = 64u;   // rows (outputs) and columns (inputs) of the weight that a workgroup covers
const DEPTH: u32 = 16u;  // tokens staged in workgroup memory at a time

@group(0) @binding(0) var<storage, read_write> x: array<f32>;        // [tokens, inputs]
@group(0) @binding(1) var<storage, read_write> dy: array<f32>;       // [tokens, outputs]
@group(0) @binding(2) var<storage, read_write> indices: array<u32>;  // [count], flat into [outputs, inputs], sorted
@group(0) @binding(3) var<storage, read_write> grad: array<f32>;     // [count]
@group(0) @binding(4) var<storage, read_write> dims: array<u32>;     // tokens, inputs, outputs, count

var<workgroup> x_tile: array<vec4<f32>, 256>;   // [DEPTH, TILE / 4]
var<workgroup> dy_tile: array<vec4<f32>, 256>;  // [DEPTH, TILE / 4]

// Position of the first selected index that is not below `bound`.
fn lower_bound(bound: u32, count: u32) -> u32 {
    var low = 0u;
    var high = count;
    while low < high {
        let middle = low + (high - low) / 2u;
        if indices[middle] < bound {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}

fn load_x(t: u32, col: u32, tokens: u32, inputs: u32) -> f32 {
    return select(0.0, x[min(t * inputs + col, tokens * inputs - 1u)], t < tokens && col < inputs);
}

fn load_dy(t: u32, row: u32, tokens: u32, outputs: u32) -> f32 {
    return select(0.0, dy[min(t * outputs + row, tokens * outputs - 1u)], t < tokens && row < outputs);
}

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tokens = dims[0];
    let inputs = dims[1];
    let outputs = dims[2];
    let count = dims[3];
    let col_start = group.x * TILE;
    let row_start = group.y * TILE;
    let my_col = lane % 16u;
    let my_row = lane / 16u;

    var sums: array<vec4<f32>, 4>;
    for (var r = 0u; r < 4u; r++) {
        sums[r] = vec4<f32>(0.0);
    }

    for (var start = 0u; start < tokens; start += DEPTH) {
        let t = start + lane / 16u;
        let col = col_start + 4u * (lane % 16u);
        let row = row_start + 4u * (lane % 16u);
        x_tile[lane] = vec4<f32>(load_x(t, col, tokens, inputs), load_x(t, col + 1u, tokens, inputs),
            load_x(t, col + 2u, tokens, inputs), load_x(t, col + 3u, tokens, inputs));
        dy_tile[lane] = vec4<f32>(load_dy(t, row, tokens, outputs), load_dy(t, row + 1u, tokens, outputs),
            load_dy(t, row + 2u, tokens, outputs), load_dy(t, row + 3u, tokens, outputs));
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let a = dy_tile[k * 16u + my_row];
            let b = x_tile[k * 16u + my_col];
            sums[0] += a.x * b;
            sums[1] += a.y * b;
            sums[2] += a.z * b;
            sums[3] += a.w * b;
        }
        workgroupBarrier();
    }

    let col = col_start + 4u * my_col;
    if col >= inputs {
        return;
    }
    let col_end = min(col + 4u, inputs);
    for (var r = 0u; r < 4u; r++) {
        let row = row_start + 4u * my_row + r;
        if row >= outputs {
            return;
        }
        let end = row * inputs + col_end;
        for (var n = lower_bound(row * inputs + col, count); n < count && indices[n] < end; n++) {
            grad[n] = sums[r][indices[n] - (row * inputs + col)];
        }
    }
}
