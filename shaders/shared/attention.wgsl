// Tiles of blockwise attention (Dao 2023, "FlashAttention-2"), shared by its passes. Needs shared/nan.wgsl, the constant
// CHUNKS, the bindings `q` [sequences, width, heads, vectors], `k` and `v` [sequences, keys, kv heads, vectors], and a binding
// `dims`:
//   0 sequences, 1 width (new positions), 2 keys, 3 heads, 4 key/value heads, 5 vectors of four numbers in a head,
//   6 window (0 = none), 7 causal (0 or 1), 8 padded (0 or 1), 9 scale, 10 cap of the scores (bits of f32; 0 = none),
//   11 shares: how many workgroups share the blocks that a backward pass goes over
//
// The query heads that share a key/value head are one matrix: its row r is head r % group at position r / group. So keys
// are read once for the whole group, and a workgroup that owns some keys can add up what all heads do with them.
//
// A workgroup is 8 x 8 lanes on tiles of 32 x 32 numbers. Lane (x, y) holds the rows y, y + 8, y + 16 and y + 24 of a
// tile, and of each the four columns from 4 x. The numbers of a head come in chunks of 32. A workgroup sums up CHUNKS of
// them; where a head has more, several workgroups ("slices") share it, and each computes the scores anew.

const TILE: u32 = 32u;
const PITCH: u32 = 9u;            // vectors from row to row of a tile: eight, and one against bank conflicts
const LOWEST: f32 = -3.0e38;       // stands for the score of a key that is not seen
const LOWEST_SEEN: f32 = -2.9e38;  // stands for a score of negative infinity
const LOWEST_BITS: u32 = 0xff61b1e6u;
const LOWEST_SEEN_BITS: u32 = 0xff5a2bf8u;
const NEGATIVE_INFINITY_BITS: u32 = 0xff800000u;
const NOTHING: u32 = 0xffffffffu;  // the index of what lies beyond an edge and counts as zero

var<workgroup> left: array<vec4<f32>, 288>;     // 32 rows of one chunk
var<workgroup> right: array<vec4<f32>, 288>;    // 32 rows of one chunk, spread
var<workgroup> weights: array<vec4<f32>, 288>;  // a tile of 32 x 32 numbers
var<workgroup> limits: vec4<u32>;

// Which numbers have these bits.
fn have_bits(numbers: vec4<f32>, bits: u32) -> vec4<bool> {
    return bitcast<vec4<u32>>(numbers) == vec4<u32>(bits);
}

struct Sizes {
    sequences: u32,
    width: u32,
    keys: u32,
    heads: u32,
    kv_heads: u32,
    vectors: u32,
    window: u32,
    causal: u32,
    padded: u32,
    scale: f32,
    cap: f32,
    shares: u32,
}

// Read once: not every driver sees that they stay as they are.
var<private> sizes: Sizes;

fn read_dims() {
    sizes = Sizes(
        dims[0],
        dims[1],
        dims[2],
        dims[3],
        dims[4],
        dims[5],
        dims[6],
        dims[7],
        dims[8],
        bitcast<f32>(dims[9]),
        bitcast<f32>(dims[10]),
        dims[11],
    );
}

struct Place {
    sequence: u32,
    kv_head: u32,
    block: u32,    // of 32 rows or keys
    first_chunk: u32,
    share: u32,
    inside: bool,
}

fn heads_per_group() -> u32 {
    return sizes.heads / sizes.kv_heads;
}

fn query_rows() -> u32 {
    return sizes.width * heads_per_group();
}

fn chunks_of_head() -> u32 {
    return (sizes.vectors + 7u) / 8u;
}

// What workgroup `index` works on, where a head has `blocks` blocks.
fn place_of(index: u32, blocks: u32) -> Place {
    let heads = index / blocks;
    let sequences = heads / sizes.kv_heads;
    let part = sequences / sizes.sequences;
    let first_chunk = part / sizes.shares * CHUNKS;
    return Place(
        sequences % sizes.sequences,
        heads % sizes.kv_heads,
        index % blocks,
        first_chunk,
        part % sizes.shares,
        first_chunk < chunks_of_head(),
    );
}

// Row `row` of the queries as a row of [sequences, width, heads].
fn query_index(place: Place, row: u32) -> u32 {
    let group = heads_per_group();
    return (place.sequence * sizes.width + row / group) * sizes.heads + place.kv_head * group + row % group;
}

// Index of a vector of the queries, or of what is shaped like them.
fn query_vector(place: Place, row: u32, vector: u32) -> u32 {
    return select(NOTHING, query_index(place, row) * sizes.vectors + vector, row < query_rows() && vector < sizes.vectors);
}

// Index of a vector of the keys or values.
fn key_vector(place: Place, key: u32, vector: u32) -> u32 {
    let row = (place.sequence * sizes.keys + key) * sizes.kv_heads + place.kv_head;
    return select(NOTHING, row * sizes.vectors + vector, key < sizes.keys && vector < sizes.vectors);
}

// Vectors of the queries, keys and values; zeros beyond an edge.
fn query_at(place: Place, row: u32, vector: u32) -> vec4<f32> {
    let at = query_vector(place, row, vector);
    if at == NOTHING {
        return vec4<f32>();
    }
    return q[at];
}

fn key_at(place: Place, key: u32, vector: u32) -> vec4<f32> {
    let at = key_vector(place, key, vector);
    if at == NOTHING {
        return vec4<f32>();
    }
    return k[at];
}

fn value_at(place: Place, key: u32, vector: u32) -> vec4<f32> {
    let at = key_vector(place, key, vector);
    if at == NOTHING {
        return vec4<f32>();
    }
    return v[at];
}

// Where row `row` of `right` stands when it is spread: lanes that read the rows 4 x + j meet no bank conflicts.
fn spread(row: u32) -> u32 {
    return row % 4u * 8u + row / 4u;
}

// The position of query row `row` among the keys.
fn position(row: u32) -> u32 {
    return sizes.keys - sizes.width + row / heads_per_group();
}

// Which keys may be seen from which positions, before padding is looked at.
fn visible(positions: vec4<u32>, keys: vec4<u32>) -> vec4<bool> {
    let there = keys < vec4<u32>(sizes.keys);
    let past = (keys <= positions) | vec4<bool>(sizes.causal == 0u);
    let window = vec4<u32>(sizes.window);
    let near = (keys + window > positions) & (keys < positions + window);
    return there & past & (near | vec4<bool>(sizes.window == 0u));
}

// Blocks of keys that any query of the block of rows from `row` may see: the first, and the one behind the last.
fn key_blocks(row: u32) -> vec2<u32> {
    let earliest = position(row) + 1u;
    var latest = position(min(row + TILE, query_rows()) - 1u) + 1u;
    if sizes.causal == 0u {
        latest = select(sizes.keys, latest + sizes.window - 1u, sizes.window > 0u);
    }
    let first = select(0u, earliest - min(earliest, sizes.window), sizes.window > 0u);
    return vec2<u32>(first / TILE, (min(latest, sizes.keys) + TILE - 1u) / TILE);
}

// Blocks of query rows that may see any key of the block from `key`.
fn query_blocks(key: u32) -> vec2<u32> {
    let start = sizes.keys - sizes.width;
    var first = 0u;
    var end = sizes.width;
    if sizes.causal == 1u {
        first = key - min(key, start);
    } else if sizes.window > 0u {
        let earliest = key + 1u - min(key + 1u, sizes.window);
        first = earliest - min(earliest, start);
    }
    if sizes.window > 0u {
        let beyond = min(key + TILE, sizes.keys) - 1u + sizes.window;
        end = min(end, beyond - min(beyond, start));
    }
    let group = heads_per_group();
    return vec2<u32>(first * group / TILE, (end * group + TILE - 1u) / TILE);
}

// Adds one chunk's part of the products of the rows of `left` with the rows of `right`, spread; `vectors` of the chunk
// are there.
fn products(sums: mat4x4<f32>, vectors: u32, x: u32, y: u32) -> mat4x4<f32> {
    var result = sums;
    for (var v = 0u; v < min(vectors, 8u); v++) {
        let columns = mat4x4<f32>(
            right[x * PITCH + v],
            right[(x + 8u) * PITCH + v],
            right[(x + 16u) * PITCH + v],
            right[(x + 24u) * PITCH + v],
        );
        result += mat4x4<f32>(
            left[y * PITCH + v] * columns,
            left[(y + 8u) * PITCH + v] * columns,
            left[(y + 16u) * PITCH + v] * columns,
            left[(y + 24u) * PITCH + v] * columns,
        );
    }
    return result;
}

// The product of `weights` with one chunk in `right`, spread: four rows, and of each the vector x. The loop begins at x because
// one whose rounds a driver can count is unrolled, which takes software drivers long to compile.
fn mixture(x: u32, y: u32) -> mat4x4<f32> {
    var result = mat4x4<f32>();
    for (var v = x; v < x + 8u; v++) {
        let first = (v - x) * PITCH + x;
        let row = y * PITCH + v - x;
        let rows = mat4x4<f32>(
            right[first],
            right[first + 8u * PITCH],
            right[first + 16u * PITCH],
            right[first + 24u * PITCH],
        );
        result += mat4x4<f32>(
            rows * weights[row],
            rows * weights[row + 8u * PITCH],
            rows * weights[row + 16u * PITCH],
            rows * weights[row + 24u * PITCH],
        );
    }
    return result;
}

// What is left of four rows when the first has been written. Loops that write one row after the other this way need no
// index, and a driver compiles one write instead of four.
fn next_rows(rows: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(rows[1], rows[2], rows[3], rows[3]);
}

fn set_weights(tile: mat4x4<f32>, x: u32, y: u32) {
    var left_over = tile;
    for (var row = y; row < TILE; row += 8u) {
        weights[row * PITCH + x] = left_over[0];
        left_over = next_rows(left_over);
    }
}

// Scores from products of queries and keys.
fn scored(raw: vec4<f32>) -> vec4<f32> {
    let scaled = raw * sizes.scale;
    let cap = sizes.cap;
    if cap == 0.0 {
        return scaled;
    }
    // Beyond 15 the tangent is 1 in f32; some drivers overflow there.
    let capped = cap * tanh(clamp(scaled / cap, vec4<f32>(-15.0), vec4<f32>(15.0)));
    return select(capped, scaled, are_nan(scaled));
}

// Derivative of `scored`, from the scores.
fn slope(scores: vec4<f32>) -> vec4<f32> {
    let scale = sizes.scale;
    let cap = sizes.cap;
    if cap == 0.0 {
        return vec4<f32>(scale);
    }
    let bent = scores / cap;
    return scale * (1.0 - bent * bent);
}
