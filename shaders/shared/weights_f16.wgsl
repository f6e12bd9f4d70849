// A frozen matrix in f16, as it lies in a checkpoint: number e is the low half of word e / 2 where e is even, else the
// high half. The buffer ends at a multiple of 16 bytes.

@group(0) @binding(1) var<storage, read_write> w: array<vec2<u32>>;  // [ceil(rows * width / 4)]

fn unpacked(word: u32) -> vec2<f32> {
    return unpack2x16float(word);
}
