// What quantized matrices share: a scale in f16 for each group of 32 neighbours of a row. Needs `scales_at`.

// 32 / bits numbers a word, low first; from the word `scales_at` on the scales, two to a word, low half first.
@group(0) @binding(1) var<storage, read_write> w: array<u32>;

fn scale_of(at: u32) -> f32 {
    let group = at / 32u;
    return unpack2x16float(w[scales_at + group / 2u])[group % 2u];
}
