// The bits of an f32, rounded to the nearest f16, ties to even.

fn rounded(bits: u32) -> u32 {
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7fffffffu;
    if magnitude > 0x7f800000u {
        return sign | 0x7e00u;  // not a number
    }
    if magnitude >= 0x47800000u {
        return sign | 0x7c00u;  // from 2^16 on: infinite
    }
    if magnitude < 0x38800000u {
        // Below 2^-14 all numbers are multiples of 2^-24, and `round` takes ties to even.
        return sign | u32(round(bitcast<f32>(magnitude) * 16777216.0));
    }
    // The exponent counts from 15 instead of 127. What rounds up to 2^16 becomes infinite by itself.
    let rebiased = magnitude - 0x38000000u;
    return sign | ((rebiased + 0xfffu + ((rebiased >> 13u) & 1u)) >> 13u);
}
