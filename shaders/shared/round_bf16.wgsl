// The bits of an f32, rounded to the nearest bf16, ties to even.

fn rounded(bits: u32) -> u32 {
    if (bits & 0x7fffffffu) > 0x7f800000u {
        return (bits >> 16u) | 0x40u;  // not a number, and quiet
    }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}
