// Writing single numbers of a matrix of 16-bit numbers, two to a word. Needs `rounded` of shared/round_*.wgsl.
// Both halves of a word may be written at once, each by one invocation. So an invocation finds its own half as it was, and
// flips exactly the bits that change: the other half is never touched.

@group(0) @binding(0) var<storage, read_write> weight: array<atomic<u32>>;

fn write(index: u32, bits: u32) {
    let shift = 16u * (index % 2u);
    let before = (atomicLoad(&weight[index / 2u]) >> shift) & 0xffffu;
    atomicXor(&weight[index / 2u], (before ^ rounded(bits)) << shift);
}
