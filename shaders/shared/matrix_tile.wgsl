// What the products by tiles in workgroup memory load of W. Needs shared/matrix.wgsl, shared/weights_*.wgsl and the constants TILE
// (outer numbers of a tile) and DEPTH (vectors of four inner numbers in it).

// Vector `at` of the tile from outer number `first_n` and inner vector `k`: along rows [TILE, DEPTH] of W[n, 4 k ..], across
// [4 DEPTH, TILE / 4] of W[k, 4 n ..]; zeros beyond an edge.
fn tile_weights(at: u32, first_n: u32, k: u32) -> vec4<f32> {
    if ALONG_ROWS {
        let n = first_n + at / DEPTH;
        let column = 4u * (k + at % DEPTH);
        if n < outer && column < inner {
            return weights(n * width + column, width - column);
        }
        return vec4<f32>();
    }
    let row = 4u * k + at / (TILE / 4u);
    let n = first_n + 4u * (at % (TILE / 4u));
    if row < inner && n < outer {
        return weights(row * width + n, width - n);
    }
    return vec4<f32>();
}

var<workgroup> inner_vectors: u32;

// How many vectors of four inner numbers there are. Barriers may only stand in loops whose bounds a compiler knows to be the
// same for all lanes.
fn all_steps(lane: u32) -> u32 {
    if lane == 0u {
        inner_vectors = (inner + 3u) / 4u;
    }
    return workgroupUniformLoad(&inner_vectors);
}
