// The entries of a column of a sparse matrix are listed.

@group(0) @binding(5) var<storage, read_write> entries: array<u32>;  // [count], column by column
@group(0) @binding(6) var<storage, read_write> dims: array<u32>;     // tokens, inner, outer, width of D's rows

fn entry(at: u32) -> u32 {
    return entries[at];
}

fn other(index: u32, width: u32) -> u32 {
    return index / width;
}
