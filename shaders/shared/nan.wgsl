// NaN. Its tests look at bits, because a compiler may assume of f32 that there is none; and it is no constant, because compilers
// refuse one.

var<private> nan_bits: u32 = 0x7fc00000u;

fn nan() -> f32 {
    return bitcast<f32>(nan_bits);
}

fn is_nan(number: f32) -> bool {
    return (bitcast<u32>(number) & 0x7fffffffu) > 0x7f800000u;
}

fn are_nan(numbers: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(numbers) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}
