// Gradients of attention.wgsl for the keys and values, one workgroup or several a block of keys: they go over the query rows of
// all heads that share them; what several found out is added up afterwards. With p = exp(score - log) and dp = grad * v^T,
// dv = p^T * grad, dscore = p * (dp - sum(p * dp)) and dk = dscore^T * q (Dao 2023, algorithm 2).
// Tiles have keys as rows and queries as columns.
// Needs shared/attention.wgsl, shared/attention_backward.wgsl and what attention_rows.wgsl has written. Composed twin: autodiff of
// kernel::attention::composed.

@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;     // [sequences, width, heads, vectors]
@group(0) @binding(1) var<storage, read_write> k: array<vec4<f32>>;     // [sequences, keys, kv heads, vectors]
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;     // as k
@group(0) @binding(3) var<storage, read_write> grad: array<vec4<f32>>;  // as q, of the result
@group(0) @binding(4) var<storage, read_write> rows: array<f32>;        // log and sum of each query, then 0 for padded keys
@group(0) @binding(5) var<storage, read_write> dk: array<vec4<f32>>;    // [shares] of what k is
@group(0) @binding(6) var<storage, read_write> dv: array<vec4<f32>>;    // as dk
@group(0) @binding(7) var<storage, read_write> dims: array<u32>;

fn stage_keys(place: Place, first: u32, chunk: u32, x: u32, y: u32) {
    for (var row = y; row < TILE; row += 8u) {
        left[row * PITCH + x] = key_at(place, first + row, chunk * 8u + x);
    }
}

fn stage_values(place: Place, first: u32, chunk: u32, x: u32, y: u32) {
    for (var row = y; row < TILE; row += 8u) {
        left[row * PITCH + x] = value_at(place, first + row, chunk * 8u + x);
    }
}

fn stage_queries(place: Place, first: u32, chunk: u32, x: u32, y: u32) {
    for (var row = y; row < TILE; row += 8u) {
        right[spread(row) * PITCH + x] = query_at(place, first + row, chunk * 8u + x);
    }
}

fn stage_grads(place: Place, first: u32, chunk: u32, x: u32, y: u32) {
    for (var row = y; row < TILE; row += 8u) {
        right[spread(row) * PITCH + x] = grad_at(place, first + row, chunk * 8u + x);
    }
}

// Adds a block of query rows' part of one chunk of dv, of which `weights` are the probabilities. A head of one chunk has its
// gradients in `right` already.
fn with_grads(sums: mat4x4<f32>, place: Place, first: u32, chunk: u32, x: u32, y: u32) -> mat4x4<f32> {
    if CHUNKS > 1u {
        stage_grads(place, first, chunk, x, y);
    }
    workgroupBarrier();
    let together = sums + mixture(x, y);
    workgroupBarrier();
    return together;
}

// Adds a block of query rows' part of one chunk of dk, of which `weights` are the gradients of the scores.
fn with_queries(sums: mat4x4<f32>, place: Place, first: u32, chunk: u32, x: u32, y: u32) -> mat4x4<f32> {
    stage_queries(place, first, chunk, x, y);
    workgroupBarrier();
    let together = sums + mixture(x, y);
    workgroupBarrier();
    return together;
}

fn write_row(place: Place, key: u32, vector: u32, key_grad: vec4<f32>, value_grad: vec4<f32>) {
    let at = key_vector(place, key, vector);
    if at != NOTHING {
        let behind = place.share * sizes.sequences * sizes.keys * sizes.kv_heads * sizes.vectors;
        dk[behind + at] = key_grad;
        dv[behind + at] = value_grad;
    }
}

fn write(keys: mat4x4<f32>, values: mat4x4<f32>, place: Place, first: u32, chunk: u32, x: u32) {
    let vector = chunk * 8u + x;
    var of_keys = keys;
    var of_values = values;
    for (var row = first; row < first + TILE; row += 8u) {
        write_row(place, row, vector, of_keys[0], of_values[0]);
        of_keys = next_rows(of_keys);
        of_values = next_rows(of_values);
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
    let place = place_of(group.y * groups.x + group.x, (sizes.keys + TILE - 1u) / TILE);
    let first_key = place.block * TILE;
    if lane == 0u {
        limits = vec4<u32>(select(vec2<u32>(0u), own_part(query_blocks(first_key), place), place.inside), chunks_of_head(), 0u);
    }
    let bounds = workgroupUniformLoad(&limits);

    let own = first_key + y;
    var of_padding = vec4<u32>();
    for (var key = own; key < first_key + TILE; key += 8u) {
        of_padding = vec4<u32>(of_padding.yzw, select(1u, 0u, kept(place, key)));
    }
    var k0 = mat4x4<f32>();
    var k1 = mat4x4<f32>();
    var k2 = mat4x4<f32>();
    var k3 = mat4x4<f32>();
    var v0 = mat4x4<f32>();
    var v1 = mat4x4<f32>();
    var v2 = mat4x4<f32>();
    var v3 = mat4x4<f32>();
    for (var block = bounds.x; block < bounds.y; block++) {
        let first_row = block * TILE;
        var raw = mat4x4<f32>();
        var dp = mat4x4<f32>();
        for (var chunk = 0u; chunk < bounds.z; chunk++) {
            stage_keys(place, first_key, chunk, x, y);
            stage_queries(place, first_row, chunk, x, y);
            workgroupBarrier();
            raw = products(raw, sizes.vectors - chunk * 8u, x, y);
            workgroupBarrier();
            stage_values(place, first_key, chunk, x, y);
            stage_grads(place, first_row, chunk, x, y);
            workgroupBarrier();
            dp = products(dp, sizes.vectors - chunk * 8u, x, y);
            workgroupBarrier();
        }

        let row = first_row + 4u * x;
        let positions = vec4<u32>(position(row), position(row + 1u), position(row + 2u), position(row + 3u));
        var logs = vec4<f32>();
        var sums = vec4<f32>();
        for (var query = row; query < row + 4u; query++) {
            let of_query = known(place, query);
            logs = vec4<f32>(logs.yzw, of_query.x);
            sums = vec4<f32>(sums.yzw, of_query.y);
        }
        // Probabilities and gradients of the scores: four keys in turn, each of which then comes last. After four turns all are
        // back in their places.
        for (var key = own; key < first_key + TILE; key += 8u) {
            let scores = scored(raw[0]);
            let seen = vec4<bool>(of_padding.x == 0u) & visible(positions, vec4<u32>(key));
            let p = select(vec4<f32>(), exp(scores - logs), seen);
            raw = mat4x4<f32>(raw[1], raw[2], raw[3], p);
            dp = mat4x4<f32>(dp[1], dp[2], dp[3], p * (dp[0] - sums) * slope(scores));
            of_padding = of_padding.yzwx;
        }
        set_weights(raw, x, y);
        let chunk = place.first_chunk;
        v0 = with_grads(v0, place, first_row, chunk, x, y);
        if CHUNKS > 1u {
            v1 = with_grads(v1, place, first_row, chunk + 1u, x, y);
        }
        if CHUNKS > 2u {
            v2 = with_grads(v2, place, first_row, chunk + 2u, x, y);
        }
        if CHUNKS > 3u {
            v3 = with_grads(v3, place, first_row, chunk + 3u, x, y);
        }

        set_weights(dp, x, y);
        k0 = with_queries(k0, place, first_row, chunk, x, y);
        if CHUNKS > 1u {
            k1 = with_queries(k1, place, first_row, chunk + 1u, x, y);
        }
        if CHUNKS > 2u {
            k2 = with_queries(k2, place, first_row, chunk + 2u, x, y);
        }
        if CHUNKS > 3u {
            k3 = with_queries(k3, place, first_row, chunk + 3u, x, y);
        }
    }

    if !place.inside {
        return;
    }
    let chunk = place.first_chunk;
    write(k0, v0, place, own, chunk, x);
    if CHUNKS > 1u {
        write(k1, v1, place, own, chunk + 1u, x);
    }
    if CHUNKS > 2u {
        write(k2, v2, place, own, chunk + 2u, x);
    }
    if CHUNKS > 3u {
        write(k3, v3, place, own, chunk + 3u, x);
    }
}
