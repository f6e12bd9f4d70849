// Attention over blocks of keys, one workgroup a block of query rows: the largest score and the sum of exponentials go
// along from block to block (Milakov and Gimelshein 2018), so that no matrix of scores exists. A query that may see no
// key gets zeros.
// Needs shared/attention.wgsl. Composed twin: kernel::attention::composed.

@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;       // [sequences, width, heads, vectors]
@group(0) @binding(1) var<storage, read_write> k: array<vec4<f32>>;       // [sequences, keys, kv heads, vectors]
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;       // as k
@group(0) @binding(3) var<storage, read_write> padding: array<u32>;       // [sequences, keys], 0 = padding; unread if `padded` is 0
@group(0) @binding(4) var<storage, read_write> result: array<vec4<f32>>;  // as q
@group(0) @binding(5) var<storage, read_write> logs: array<f32>;          // [sequences, width, heads], log of the sum of exp(score)
@group(0) @binding(6) var<storage, read_write> dims: array<u32>;

// Of the rows of a lane: largest scores or sums, over its own columns.
var<workgroup> partials: array<vec4<f32>, 64>;

fn kept(place: Place, key: u32) -> bool {
    if sizes.padded == 0u || key >= sizes.keys {
        return true;
    }
    return padding[place.sequence * sizes.keys + key] != 0u;
}

fn stage_queries(place: Place, first: u32, chunk: u32, x: u32, y: u32) {
    for (var row = y; row < TILE; row += 8u) {
        left[row * PITCH + x] = query_at(place, first + row, chunk * 8u + x);
    }
}

fn stage_keys(place: Place, first: u32, chunk: u32, x: u32, y: u32) {
    for (var row = y; row < TILE; row += 8u) {
        right[spread(row) * PITCH + x] = key_at(place, first + row, chunk * 8u + x);
    }
}

// One chunk's part of the result after a block of values: what was there fades, the block is added.
fn with_values(sums: mat4x4<f32>, fade: vec4<f32>, place: Place, first: u32, chunk: u32, x: u32, y: u32) -> mat4x4<f32> {
    for (var row = y; row < TILE; row += 8u) {
        right[spread(row) * PITCH + x] = value_at(place, first + row, chunk * 8u + x);
    }
    workgroupBarrier();
    let faded = mat4x4<f32>(sums[0] * fade.x, sums[1] * fade.y, sums[2] * fade.z, sums[3] * fade.w);
    let together = faded + mixture(x, y);
    workgroupBarrier();
    return together;
}

fn write_row(place: Place, row: u32, vector: u32, value: vec4<f32>) {
    let at = query_vector(place, row, vector);
    if at != NOTHING {
        result[at] = value;
    }
}

fn write(sums: mat4x4<f32>, factors: vec4<f32>, place: Place, first: u32, chunk: u32, x: u32) {
    let vector = chunk * 8u + x;
    var left_over = mat4x4<f32>(sums[0] * factors.x, sums[1] * factors.y, sums[2] * factors.z, sums[3] * factors.w);
    for (var row = first; row < first + TILE; row += 8u) {
        write_row(place, row, vector, left_over[0]);
        left_over = next_rows(left_over);
    }
}

fn write_log(place: Place, row: u32, value: f32) {
    if row < query_rows() {
        logs[query_index(place, row)] = value;
    }
}

fn largest(values: vec4<f32>) -> f32 {
    return max(max(values.x, values.y), max(values.z, values.w));
}

fn sum(values: vec4<f32>) -> f32 {
    return values.x + values.y + values.z + values.w;
}

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    read_dims();
    let x = lane % 8u;
    let y = lane / 8u;
    let place = place_of(group.y * groups.x + group.x, (query_rows() + TILE - 1u) / TILE);
    let first_row = place.block * TILE;
    if lane == 0u {
        limits = vec4<u32>(select(vec2<u32>(0u), key_blocks(first_row), place.inside), chunks_of_head(), 0u);
    }
    let bounds = workgroupUniformLoad(&limits);

    let own = first_row + y;
    let positions = vec4<u32>(position(own), position(own + 8u), position(own + 16u), position(own + 24u));
    var top = vec4<f32>(LOWEST);
    var total = vec4<f32>();
    var o0 = mat4x4<f32>();
    var o1 = mat4x4<f32>();
    var o2 = mat4x4<f32>();
    var o3 = mat4x4<f32>();
    var o4 = mat4x4<f32>();
    var o5 = mat4x4<f32>();
    var o6 = mat4x4<f32>();
    var o7 = mat4x4<f32>();
    // Queries of one chunk stay where they are from block to block.
    if CHUNKS == 1u {
        stage_queries(place, first_row, 0u, x, y);
    }
    for (var block = bounds.x; block < bounds.y; block++) {
        let first_key = block * TILE;
        var tile = mat4x4<f32>();
        for (var chunk = 0u; chunk < bounds.z; chunk++) {
            if CHUNKS > 1u {
                stage_queries(place, first_row, chunk, x, y);
            }
            stage_keys(place, first_key, chunk, x, y);
            workgroupBarrier();
            tile = products(tile, sizes.vectors - chunk * 8u, x, y);
            workgroupBarrier();
        }

        let key = first_key + 4u * x;
        let keys = vec4<u32>(key, key + 1u, key + 2u, key + 3u);
        let open = vec4<bool>(kept(place, key), kept(place, key + 1u), kept(place, key + 2u), kept(place, key + 3u));
        // Four rows in turn, each of which then comes last: after four turns all are back in their places.
        var scores = tile;
        var places = positions;
        var best = vec4<f32>();
        for (var row = y; row < TILE; row += 8u) {
            let seen = open & visible(vec4<u32>(places.x), keys);
            let found = scored(scores[0]);
            let finite = select(found, vec4<f32>(LOWEST_SEEN), have_bits(found, NEGATIVE_INFINITY_BITS));
            let of_row = select(vec4<f32>(LOWEST), finite, seen);
            scores = mat4x4<f32>(scores[1], scores[2], scores[3], of_row);
            places = places.yzwx;
            best = vec4<f32>(best.yzw, largest(of_row));
        }
        partials[lane] = best;
        workgroupBarrier();
        var next = top;
        for (var other = y * 8u; other < y * 8u + 8u; other++) {
            next = max(next, partials[other]);
        }
        var all_next = next;
        var share = vec4<f32>();
        for (var row = y; row < TILE; row += 8u) {
            // Of a NaN the exponential is one, and so are the sum and the result of its query.
            let hidden = have_bits(scores[0], LOWEST_BITS);
            let p = select(exp(scores[0] - all_next.x), vec4<f32>(), hidden);
            scores = mat4x4<f32>(scores[1], scores[2], scores[3], p);
            all_next = all_next.yzwx;
            share = vec4<f32>(share.yzw, sum(p));
        }
        set_weights(scores, x, y);
        let fade = exp(top - next);
        top = next;
        total = total * fade + share;

        let chunk = place.first_chunk;
        o0 = with_values(o0, fade, place, first_key, chunk, x, y);
        if CHUNKS > 1u {
            o1 = with_values(o1, fade, place, first_key, chunk + 1u, x, y);
        }
        if CHUNKS > 2u {
            o2 = with_values(o2, fade, place, first_key, chunk + 2u, x, y);
        }
        if CHUNKS > 3u {
            o3 = with_values(o3, fade, place, first_key, chunk + 3u, x, y);
        }
        if CHUNKS > 4u {
            o4 = with_values(o4, fade, place, first_key, chunk + 4u, x, y);
            o5 = with_values(o5, fade, place, first_key, chunk + 5u, x, y);
            o6 = with_values(o6, fade, place, first_key, chunk + 6u, x, y);
            o7 = with_values(o7, fade, place, first_key, chunk + 7u, x, y);
        }
    }

    partials[lane] = total;
    workgroupBarrier();
    var sums = vec4<f32>();
    for (var other = y * 8u; other < y * 8u + 8u; other++) {
        sums += partials[other];
    }
    if !place.inside {
        return;
    }
    // A sum is at least 1 where a key is visible, that of the largest score. Of scores that are all negative infinity there is
    // no softmax.
    let undefined = are_nan(sums) | have_bits(top, LOWEST_SEEN_BITS);
    let bounded = select(max(sums, vec4<f32>(1.0e-30)), vec4<f32>(nan()), undefined);
    let factors = 1.0 / bounded;
    let chunk = place.first_chunk;
    write(o0, factors, place, own, chunk, x);
    if CHUNKS > 1u {
        write(o1, factors, place, own, chunk + 1u, x);
    }
    if CHUNKS > 2u {
        write(o2, factors, place, own, chunk + 2u, x);
    }
    if CHUNKS > 3u {
        write(o3, factors, place, own, chunk + 3u, x);
    }
    if CHUNKS > 4u {
        write(o4, factors, place, own, chunk + 4u, x);
        write(o5, factors, place, own, chunk + 5u, x);
        write(o6, factors, place, own, chunk + 6u, x);
        write(o7, factors, place, own, chunk + 7u, x);
    }
    if x == 0u && chunk == 0u {
        let log_sums = top + log(bounded);
        write_log(place, own, log_sums.x);
        write_log(place, own + 8u, log_sums.y);
        write_log(place, own + 16u, log_sums.z);
        write_log(place, own + 24u, log_sums.w);
    }
}
