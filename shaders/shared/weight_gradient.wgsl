// What the gradients of a weight share: products of two matrices that are stored token by token,
//     grad[r, c] = sum over t of left[t, r] * right[t, c]      (left^T right).
// Tokens are dealt out in parts; each writes sums of its own, one behind the other, which weight_gradient_sum.wgsl adds up.
// Both are read four columns at a time: the host pads their rows to a multiple of four. dims count the true widths.

@group(0) @binding(0) var<storage, read_write> left: array<vec4<f32>>;   // [tokens, ceil(rows / 4)]
@group(0) @binding(1) var<storage, read_write> right: array<vec4<f32>>;  // [tokens, ceil(cols / 4)]
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;         // [parts, rows, cols]
@group(0) @binding(3) var<storage, read_write> dims: array<u32>;         // tokens, rows, cols, tokens of a part, workgroups of a part in y

// Whether there is such a part of the tokens; without tokens there is one, of zeros.
fn is_part(part: u32) -> bool {
    return part == 0u || part * dims[3] < dims[0];
}

// Four rows (a) by four columns (b) more; element [r] of the sums is a row.
fn more(sums: mat4x4<f32>, a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        fma(vec4<f32>(a.x), b, sums[0]),
        fma(vec4<f32>(a.y), b, sums[1]),
        fma(vec4<f32>(a.z), b, sums[2]),
        fma(vec4<f32>(a.w), b, sums[3]),
    );
}

// Four neighbours of a row, as far as there are any.
fn put(part: u32, row: u32, column: u32, sums: vec4<f32>) {
    let rows = dims[1];
    let cols = dims[2];
    if row >= rows {
        return;
    }
    let at = (part * rows + row) * cols + column;
    if column + 3u < cols {
        grad[at] = sums.x;
        grad[at + 1u] = sums.y;
        grad[at + 2u] = sums.z;
        grad[at + 3u] = sums.w;
        return;
    }
    for (var i = 0u; column + i < cols; i++) {
        grad[at + i] = sums[i];
    }
}

fn put_four(part: u32, row: u32, column: u32, sums: mat4x4<f32>) {
    put(part, row, column, sums[0]);
    put(part, row + 1u, column, sums[1]);
    put(part, row + 2u, column, sums[2]);
    put(part, row + 3u, column, sums[3]);
}
