// Rows of activations for matrix_cooperative.wgsl: each number, scaled so that the largest of its row is from 2^14 to 2^15,
// as the sum of two in f16. The first takes its leading eleven bits, the second those that follow: together they are as
// exact as f32. The exponent of the factor that undoes the scale, a power of two, stands behind the row.
// A workgroup a row. Composed twin: kernel::matrix::composed.

@group(0) @binding(0) var<storage, read_write> x: array<f32>;       // [tokens, inner]
@group(0) @binding(1) var<storage, read_write> halves: array<u32>;  // [tokens] of the first, the second and the exponent, two a word
@group(0) @binding(2) var<storage, read_write> dims: array<u32>;    // tokens, inner

const LANES: u32 = 128u;

var<workgroup> largest: array<f32, 128>;

// Number `k` of a row, scaled; zero behind the last.
fn scaled(row: u32, k: u32, scale: f32) -> f32 {
    if k < dims[1] {
        return x[row * dims[1] + k] * scale;
    }
    return 0.0;
}

// The leading eleven bits. Rounding there and back by f16 would be the same to a compiler as nothing.
fn leading(number: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(number) & 0xffffe000u);
}

@compute @workgroup_size(128, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tokens = dims[0];
    let inner = dims[1];
    // More than 65,535 workgroups are folded into two dimensions.
    let row = group.y * groups.x + group.x;
    var most = 0.0;
    if row < tokens {
        for (var k = lane; k < inner; k += LANES) {
            most = max(most, abs(x[row * inner + k]));
        }
    }
    largest[lane] = most;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            largest[lane] = max(largest[lane], largest[lane + half]);
        }
        workgroupBarrier();
    }
    if row >= tokens {
        return;
    }
    // 2^(14 - floor(log2(most))), from the bits of the exponent; tiny rows are scaled as far as is safe.
    let exponent = bitcast<u32>(largest[0]) >> 23u;
    let of_scale = clamp(268u - min(exponent, 254u), 14u, 240u);
    let scale = bitcast<f32>(of_scale << 23u);
    let words = (inner + 3u) / 4u * 2u;
    let start = row * (2u * words + 2u);
    for (var word = lane; word < words; word += LANES) {
        let a = scaled(row, 2u * word, scale);
        let b = scaled(row, 2u * word + 1u, scale);
        let first = vec2<f32>(leading(a), leading(b));
        halves[start + word] = pack2x16float(first);
        halves[start + words + word] = pack2x16float(vec2<f32>(a, b) - first);
    }
    if lane == 0u {
        halves[start + 2u * words] = pack2x16float(vec2<f32>(127.0 - f32(of_scale), 0.0));
    }
}
