// What the products with a frozen matrix share. The matrix W is stored as rows; a product goes along them,
//     y[t, n] = sum over k of x[t, k] * W[n, k]      (ALONG_ROWS: x W^T),
// or across them,
//     y[t, n] = sum over k of x[t, k] * W[k, n]      (x W).
// Needs the alias Four of four neighbours of x, the constants ALONG_ROWS and RAGGED and, from shared/weights_*.wgsl, the binding `w` and
//     weights(at, left): four neighbours of W from the flat index `at`, of which `left` are in the same row; the others
//     are zeros. Where W is not RAGGED, rows are whole fours.
// The host pads the rows of x to a multiple of four numbers with zeros. From shared/plus_*.wgsl, which stands behind, it needs
//     plus(sum, row, n): what is written for a sum,
// and the binding `dims`:
//   0 tokens, 1 inner, 2 outer, 3 word where scales begin, 4 numbers from row to row of what is added (0 or outer)

@group(0) @binding(0) var<storage, read_write> x: array<Four>;       // [tokens, ceil(inner / 4)]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;        // [tokens, outer]

// Read once: not every driver sees that they stay as they are.
var<private> tokens: u32;
var<private> inner: u32;
var<private> outer: u32;
var<private> width: u32;  // of W's rows
var<private> scales_at: u32;
var<private> bias_pitch: u32;

fn read_dims() {
    tokens = dims[0];
    inner = dims[1];
    outer = dims[2];
    width = select(outer, inner, ALONG_ROWS);
    scales_at = dims[3];
    bias_pitch = dims[4];
}

// 4 x 4 numbers of W, as four pieces of rows: where they begin, and where the last such row begins.
struct Pieces {
    at: vec4<u32>,
    last: u32,
}

// Those that join the inner numbers from 4 * k with the outer ones from 4 * n. Rows beyond the last are stood in for by
// the last one: along rows they are not written, across rows they meet zeros of x.
fn pieces_at(k: u32, n: u32) -> Pieces {
    let rows = select(inner, outer, ALONG_ROWS);
    let first = 4u * select(k, n, ALONG_ROWS);
    let column = 4u * select(n, k, ALONG_ROWS);
    let last = (rows - 1u) * width + column;
    let at = (first + vec4<u32>(0u, 1u, 2u, 3u)) * width + column;
    return Pieces(min(at, vec4<u32>(last)), last);
}

// The next four inner numbers.
fn next(pieces: Pieces) -> Pieces {
    if ALONG_ROWS {
        return Pieces(pieces.at + 4u, pieces.last + 4u);
    }
    return Pieces(min(pieces.at + 4u * width, vec4<u32>(pieces.last)), pieces.last);
}

// They as a matrix whose product with four neighbours of x is their share of four neighbours of y.
fn load(pieces: Pieces, k: u32, n: u32) -> mat4x4<f32> {
    let left = width - 4u * select(n, k, ALONG_ROWS);
    let loaded = mat4x4<f32>(
        weights(pieces.at.x, left),
        weights(pieces.at.y, left),
        weights(pieces.at.z, left),
        weights(pieces.at.w, left),
    );
    if ALONG_ROWS {
        return transpose(loaded);
    }
    return loaded;
}

// Four neighbours of a row of y, as far as there are any.
fn store(row: u32, n: u32, sums: vec4<f32>) {
    if row >= tokens {
        return;
    }
    let first = 4u * n;
    let at = row * outer + first;
    if first + 3u < outer {
        y[at] = plus(sums.x, row, first);
        y[at + 1u] = plus(sums.y, row, first + 1u);
        y[at + 2u] = plus(sums.z, row, first + 2u);
        y[at + 3u] = plus(sums.w, row, first + 3u);
        return;
    }
    for (var i = 0u; first + i < outer; i++) {
        y[at + i] = plus(sums[i], row, first + i);
    }
}
