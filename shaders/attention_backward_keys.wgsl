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

// Row `row` of the tile goes to slot `row`, or where it belongs when the tile is spread.
fn stage_queries(place: Place, first: u32, chunk: u32, spreading: bool, x: u32, y: u32) {
    for (var row = y; row < TILE; row += 8u) {
        right[select(row, spread(row), spreading) * PITCH + x] = query_at(place, first + row, chunk * 8u + x);
    }
}

fn stage_grads(place: Place, first: u32, chunk: u32, spreading: bool, x: u32, y: u32) {
    for (var row = y; row < TILE; row += 8u) {
        right[select(row, spread(row), spreading) * PITCH + x] = grad_at(place, first + row, chunk * 8u + x);
    }
}

// Adds a block of query rows' part of one chunk of dv, of which `weights` are the probabilities.
fn with_grads(sums: mat4x4<f32>, place: Place, first: u32, chunk: u32, x: u32, y: u32) -> mat4x4<f32> {
    stage_grads(place, first, chunk, false, x, y);
    workgroupBarrier();
    let together = sums + mixture(x, y);
    workgroupBarrier();
    return together;
}

// Adds a block of query rows' part of one chunk of dk, of which `weights` are the gradients of the scores.
fn with_queries(sums: mat4x4<f32>, place: Place, first: u32, chunk: u32, x: u32, y: u32) -> mat4x4<f32> {
    stage_queries(place, first, chunk, false, x, y);
    workgroupBarrier();
    let together = sums + mixture(x, y);
    workgroupBarrier();
    return together;
}

fn write_row(place: Place, key: u32, vector: u32, key_grad: vec4<f32>, value_grad: vec4<f32>) {
    let at = key_vector(place, key, vector);
    if at != NOTHING {
        let behind = place.share * dims[0] * dims[2] * dims[4] * dims[5];
        dk[behind + at] = key_grad;
        dv[behind + at] = value_grad;
    }
}

fn write(keys: mat4x4<f32>, values: mat4x4<f32>, place: Place, first: u32, chunk: u32, x: u32) {
    let vector = chunk * 8u + x;
    write_row(place, first, vector, keys[0], values[0]);
    write_row(place, first + 8u, vector, keys[1], values[1]);
    write_row(place, first + 16u, vector, keys[2], values[2]);
    write_row(place, first + 24u, vector, keys[3], values[3]);
}

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let x = lane % 8u;
    let y = lane / 8u;
    let place = place_of(group.y * groups.x + group.x, (dims[2] + TILE - 1u) / TILE);
    let first_key = place.block * TILE;
    if lane == 0u {
        limits = vec4<u32>(select(vec2<u32>(0u), own_part(query_blocks(first_key), place), place.inside), chunks_of_head(), 0u);
    }
    let bounds = workgroupUniformLoad(&limits);

    let own = first_key + y;
    let kept0 = kept(place, own);
    let kept1 = kept(place, own + 8u);
    let kept2 = kept(place, own + 16u);
    let kept3 = kept(place, own + 24u);
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
            stage_queries(place, first_row, chunk, true, x, y);
            workgroupBarrier();
            raw = products(raw, dims[5] - chunk * 8u, x, y);
            workgroupBarrier();
            stage_values(place, first_key, chunk, x, y);
            stage_grads(place, first_row, chunk, true, x, y);
            workgroupBarrier();
            dp = products(dp, dims[5] - chunk * 8u, x, y);
            workgroupBarrier();
        }

        let row = first_row + 4u * x;
        let positions = vec4<u32>(position(row), position(row + 1u), position(row + 2u), position(row + 3u));
        let query0 = known(place, row);
        let query1 = known(place, row + 1u);
        let query2 = known(place, row + 2u);
        let query3 = known(place, row + 3u);
        let logs = vec4<f32>(query0.x, query1.x, query2.x, query3.x);
        let sums = vec4<f32>(query0.y, query1.y, query2.y, query3.y);
        let zero = vec4<f32>();
        let s0 = scored(raw[0]);
        let s1 = scored(raw[1]);
        let s2 = scored(raw[2]);
        let s3 = scored(raw[3]);
        let seen0 = vec4<bool>(kept0) & visible(positions, vec4<u32>(own));
        let seen1 = vec4<bool>(kept1) & visible(positions, vec4<u32>(own + 8u));
        let seen2 = vec4<bool>(kept2) & visible(positions, vec4<u32>(own + 16u));
        let seen3 = vec4<bool>(kept3) & visible(positions, vec4<u32>(own + 24u));
        let p0 = select(zero, exp(s0 - logs), seen0);
        let p1 = select(zero, exp(s1 - logs), seen1);
        let p2 = select(zero, exp(s2 - logs), seen2);
        let p3 = select(zero, exp(s3 - logs), seen3);
        set_weights(mat4x4<f32>(p0, p1, p2, p3), x, y);
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

        set_weights(
            mat4x4<f32>(
                p0 * (dp[0] - sums) * slope(s0),
                p1 * (dp[1] - sums) * slope(s1),
                p2 * (dp[2] - sums) * slope(s2),
                p3 * (dp[3] - sums) * slope(s3),
            ),
            x,
            y,
        );
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
