// Attention over blocks of keys, one workgroup a block of query rows: the largest score and the sum of exponentials go
// along from block to block (Milakov and Gimelshein 2018), so that no matrix of scores exists. A query that may see no
// key gets zeros.
// Needs shared/attention.wgsl. Composed twin: kernel::attention::composed.

@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;       // [sequences, width, heads, vectors]
@group(0) @binding(1) var<storage, read_write> k: array<vec4<f32>>;       // [sequences, keys, kv heads, vectors]
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;       // as k
@group(0) @binding(3) var<storage, read_write> padding: array<u32>;       // [sequences, keys], 0 = padding; unread if dims[8] = 0
@group(0) @binding(4) var<storage, read_write> result: array<vec4<f32>>;  // as q
@group(0) @binding(5) var<storage, read_write> logs: array<f32>;          // [sequences, width, heads], log of the sum of exp(score)
@group(0) @binding(6) var<storage, read_write> dims: array<u32>;

// Of the rows of a lane: largest scores or sums, over its own columns.
var<workgroup> partials: array<vec4<f32>, 64>;

fn kept(place: Place, key: u32) -> bool {
    if dims[8] == 0u || key >= dims[2] {
        return true;
    }
    return padding[place.sequence * dims[2] + key] != 0u;
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
        right[row * PITCH + x] = value_at(place, first + row, chunk * 8u + x);
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
    write_row(place, first, vector, sums[0] * factors.x);
    write_row(place, first + 8u, vector, sums[1] * factors.y);
    write_row(place, first + 16u, vector, sums[2] * factors.z);
    write_row(place, first + 24u, vector, sums[3] * factors.w);
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
    for (var block = bounds.x; block < bounds.y; block++) {
        let first_key = block * TILE;
        var tile = mat4x4<f32>();
        for (var chunk = 0u; chunk < bounds.z; chunk++) {
            // Queries of one chunk stay where they are from block to block.
            if bounds.z > 1u || block == bounds.x {
                stage_queries(place, first_row, chunk, x, y);
            }
            stage_keys(place, first_key, chunk, x, y);
            workgroupBarrier();
            tile = products(tile, dims[5] - chunk * 8u, x, y);
            workgroupBarrier();
        }

        let key = first_key + 4u * x;
        let keys = vec4<u32>(key, key + 1u, key + 2u, key + 3u);
        let open = vec4<bool>(kept(place, key), kept(place, key + 1u), kept(place, key + 2u), kept(place, key + 3u));
        let seen0 = open & visible(vec4<u32>(positions.x), keys);
        let seen1 = open & visible(vec4<u32>(positions.y), keys);
        let seen2 = open & visible(vec4<u32>(positions.z), keys);
        let seen3 = open & visible(vec4<u32>(positions.w), keys);
        let lowest = vec4<f32>(LOWEST);
        let s0 = select(lowest, scored(tile[0]), seen0);
        let s1 = select(lowest, scored(tile[1]), seen1);
        let s2 = select(lowest, scored(tile[2]), seen2);
        let s3 = select(lowest, scored(tile[3]), seen3);
        partials[lane] = vec4<f32>(largest(s0), largest(s1), largest(s2), largest(s3));
        workgroupBarrier();
        var next = top;
        for (var other = 0u; other < 8u; other++) {
            next = max(next, partials[y * 8u + other]);
        }
        let zero = vec4<f32>();
        let p0 = select(zero, exp(s0 - next.x), seen0);
        let p1 = select(zero, exp(s1 - next.y), seen1);
        let p2 = select(zero, exp(s2 - next.z), seen2);
        let p3 = select(zero, exp(s3 - next.w), seen3);
        set_weights(mat4x4<f32>(p0, p1, p2, p3), x, y);
        let fade = exp(top - next);
        top = next;
        total = total * fade + vec4<f32>(sum(p0), sum(p1), sum(p2), sum(p3));

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
    for (var other = 0u; other < 8u; other++) {
        sums += partials[y * 8u + other];
    }
    if !place.inside {
        return;
    }
    // A sum is at least 1 where a key is visible, that of the largest score.
    let bounded = max(sums, vec4<f32>(1.0e-30));
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
