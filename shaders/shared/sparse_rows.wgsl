// The entries of a row of a sparse matrix are neighbours.

@group(0) @binding(5) var<storage, read_write> dims: array<u32>;  // tokens, inner, outer, width of D's rows

fn entry(at: u32) -> u32 {
    return at;
}

fn other(index: u32, width: u32) -> u32 {
    return index % width;
}
