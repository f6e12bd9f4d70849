// Gradient of attention.wgsl for the queries, one workgroup or several a block of query rows, from scores computed anew: with
// p = exp(score - log) and dp = grad * v^T, dscore = p * (dp - sum(p * dp)) and dq = dscore * k (Dao 2023, algorithm 2).
// Needs shared/attention.wgsl, shared/attention_backward.wgsl and what attention_rows.wgsl has written. Composed twin: autodiff of
// kernel::attention::composed.

@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;       // [sequences, width, heads, vectors]
@group(0) @binding(1) var<storage, read_write> k: array<vec4<f32>>;       // [sequences, keys, kv heads, vectors]
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;       // as k
@group(0) @binding(3) var<storage, read_write> grad: array<vec4<f32>>;    // as q, of the result
@group(0) @binding(4) var<storage, read_write> rows: array<f32>;          // log and sum of each query, then 0 for padded keys
@group(0) @binding(5) var<storage, read_write> dq: array<vec4<f32>>;      // [shares] of what q is
@group(0) @binding(6) var<storage, read_write> dims: array<u32>;

fn stage_queries(place: Place, first: u32, chunk: u32, x: u32, y: u32) {
    for (var row = y; row < TILE; row += 8u) {
        left[row * PITCH + x] = query_at(place, first + row, chunk * 8u + x);
    }
}

fn stage_grads(place: Place, first: u32, chunk: u32, x: u32, y: u32) {
    for (var row = y; row < TILE; row += 8u) {
        left[row * PITCH + x] = grad_at(place, first + row, chunk * 8u + x);
    }
}

fn stage_keys(place: Place, first: u32, chunk: u32, x: u32, y: u32) {
    for (var row = y; row < TILE; row += 8u) {
        right[spread(row) * PITCH + x] = key_at(place, first + row, chunk * 8u + x);
    }
}

fn stage_values(place: Place, first: u32, chunk: u32, x: u32, y: u32) {
    for (var row = y; row < TILE; row += 8u) {
        right[spread(row) * PITCH + x] = value_at(place, first + row, chunk * 8u + x);
    }
}

// Adds a block of keys' part of one chunk of dq. A head of one chunk has its keys in `right` already.
fn with_keys(sums: mat4x4<f32>, place: Place, first: u32, chunk: u32, x: u32, y: u32) -> mat4x4<f32> {
    if CHUNKS > 1u {
        stage_keys(place, first, chunk, x, y);
    }
    workgroupBarrier();
    let together = sums + mixture(x, y);
    workgroupBarrier();
    return together;
}

// Gradients of four scores of one query; `raw` are products of queries and keys, `dp` the gradients of probabilities.
fn score_grads(raw: vec4<f32>, dp: vec4<f32>, log: f32, sum: f32, seen: vec4<bool>) -> vec4<f32> {
    let scores = scored(raw);
    let p = exp(scores - log);
    return select(vec4<f32>(), p * (dp - sum) * slope(scores), seen);
}

fn write_row(place: Place, row: u32, vector: u32, value: vec4<f32>) {
    let at = query_vector(place, row, vector);
    if at != NOTHING {
        dq[place.share * sizes.sequences * sizes.width * sizes.heads * sizes.vectors + at] = value;
    }
}

fn write(sums: mat4x4<f32>, place: Place, first: u32, chunk: u32, x: u32) {
    let vector = chunk * 8u + x;
    var left_over = sums;
    for (var row = first; row < first + TILE; row += 8u) {
        write_row(place, row, vector, left_over[0]);
        left_over = next_rows(left_over);
    }
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
        limits = vec4<u32>(select(vec2<u32>(0u), own_part(key_blocks(first_row), place), place.inside), chunks_of_head(), 0u);
    }
    let bounds = workgroupUniformLoad(&limits);

    let own = first_row + y;
    let positions = vec4<u32>(position(own), position(own + 8u), position(own + 16u), position(own + 24u));
    // Logs and sums of the four rows.
    var logs = vec4<f32>();
    var sums = vec4<f32>();
    for (var row = own; row < first_row + TILE; row += 8u) {
        let query = known(place, row);
        logs = vec4<f32>(logs.yzw, query.x);
        sums = vec4<f32>(sums.yzw, query.y);
    }
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
        var raw = mat4x4<f32>();
        var dp = mat4x4<f32>();
        for (var chunk = 0u; chunk < bounds.z; chunk++) {
            stage_grads(place, first_row, chunk, x, y);
            stage_values(place, first_key, chunk, x, y);
            workgroupBarrier();
            dp = products(dp, sizes.vectors - chunk * 8u, x, y);
            workgroupBarrier();
            stage_queries(place, first_row, chunk, x, y);
            stage_keys(place, first_key, chunk, x, y);
            workgroupBarrier();
            raw = products(raw, sizes.vectors - chunk * 8u, x, y);
            workgroupBarrier();
        }

        let key = first_key + 4u * x;
        let keys = vec4<u32>(key, key + 1u, key + 2u, key + 3u);
        let open = vec4<bool>(kept(place, key), kept(place, key + 1u), kept(place, key + 2u), kept(place, key + 3u));
        // Four rows in turn, each of which then comes last: after four turns all are back in their places.
        var places = positions;
        for (var row = y; row < TILE; row += 8u) {
            let seen = open & visible(vec4<u32>(places.x), keys);
            let of_row = score_grads(raw[0], dp[0], logs.x, sums.x, seen);
            raw = mat4x4<f32>(raw[1], raw[2], raw[3], of_row);
            dp = mat4x4<f32>(dp[1], dp[2], dp[3], dp[0]);
            places = places.yzwx;
            logs = logs.yzwx;
            sums = sums.yzwx;
        }
        set_weights(raw, x, y);
        let chunk = place.first_chunk;
        o0 = with_keys(o0, place, first_key, chunk, x, y);
        if CHUNKS > 1u {
            o1 = with_keys(o1, place, first_key, chunk + 1u, x, y);
        }
        if CHUNKS > 2u {
            o2 = with_keys(o2, place, first_key, chunk + 2u, x, y);
        }
        if CHUNKS > 3u {
            o3 = with_keys(o3, place, first_key, chunk + 3u, x, y);
        }
        if CHUNKS > 4u {
            o4 = with_keys(o4, place, first_key, chunk + 4u, x, y);
            o5 = with_keys(o5, place, first_key, chunk + 5u, x, y);
            o6 = with_keys(o6, place, first_key, chunk + 6u, x, y);
            o7 = with_keys(o7, place, first_key, chunk + 7u, x, y);
        }
    }

    if !place.inside {
        return;
    }
    let chunk = place.first_chunk;
    write(o0, place, own, chunk, x);
    if CHUNKS > 1u {
        write(o1, place, own, chunk + 1u, x);
    }
    if CHUNKS > 2u {
        write(o2, place, own, chunk + 2u, x);
    }
    if CHUNKS > 3u {
        write(o3, place, own, chunk + 3u, x);
    }
    if CHUNKS > 4u {
        write(o4, place, own, chunk + 4u, x);
        write(o5, place, own, chunk + 5u, x);
        write(o6, place, own, chunk + 6u, x);
        write(o7, place, own, chunk + 7u, x);
    }
}
