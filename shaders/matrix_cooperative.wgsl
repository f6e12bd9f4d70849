// A product with a frozen matrix of 16-bit numbers by cooperative matrices (tensor cores): tiles of 128 tokens and 128 outer
// numbers, eight subgroups of 32 lanes with 64 x 32 of them each. x comes from matrix_split.wgsl as two numbers in f16 for
// each of its own; both are multiplied and the sums kept in f32, so the result is that of f32 up to the order of addition.
// The next tile is read from memory while this one is multiplied.
// Needs shared/grid.wgsl, shared/matrix.wgsl, shared/weights_*.wgsl and shared/matrix_tile.wgsl in front. Composed twin: kernel::matrix::composed.

const TILE: u32 = 128u;
const DEPTH: u32 = 8u;     // vectors of four inner numbers in a tile
const PITCH: u32 = 10u;    // vectors from row to row of a tile: DEPTH and two against bank conflicts
const W_PITCH: u32 = 34u;  // the same across the rows of W: TILE / 4 and two

var<workgroup> x_first: array<vec4<f16>, 1280>;   // [TILE, PITCH], x[row, 4 k ..]
var<workgroup> x_second: array<vec4<f16>, 1280>;  // likewise
var<workgroup> w_tile: array<vec4<f16>, 1280>;    // along rows [TILE, PITCH], W[n, 4 k ..]; across [4 DEPTH, W_PITCH], W[k, 4 n ..]
var<workgroup> finished: array<f32, 2048>;       // 16 x 16 of each subgroup, on their way out

// Four halves of a row: of the first numbers, or `behind` vectors later of the second.
fn halves_at(row: u32, k: u32, steps: u32, behind: u32) -> vec4<f16> {
    if row < tokens && k < steps {
        return x[row * (2u * steps + 1u) + behind + k];
    }
    return vec4<f16>();
}

// The vector of W that a lane loads, one of four.
fn of_w(at: u32, first_n: u32, k: u32) -> vec4<f16> {
    let loaded = tile_weights(at, first_n, k);
    // What f16 cannot hold is as good as infinite.
    return vec4<f16>(clamp(loaded, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
}

// Where a tile has what a lane loads.
fn place_along(at: u32) -> u32 {
    return at / DEPTH * PITCH + at % DEPTH;
}

fn keep_w(at: u32, loaded: vec4<f16>) {
    w_tile[select(at / 32u * W_PITCH + at % 32u, place_along(at), ALONG_ROWS)] = loaded;
}

// Writes 16 x 16 numbers, unscaled, as far as there are so many.
fn put(lane: u32, first_row: u32, first_n: u32) {
    let start = 256u * (lane / 32u);
    let steps = (inner + 3u) / 4u;
    for (var at = lane % 32u; at < 256u; at += 32u) {
        let row = first_row + at / 16u;
        let n = first_n + at % 16u;
        if row < tokens && n < outer {
            let exponent = i32(x[row * (2u * steps + 1u) + 2u * steps].x);
            y[row * outer + n] = plus(ldexp(finished[start + at], exponent), row, n);
        }
    }
}

@compute @workgroup_size(256, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    read_dims();
    let steps = all_steps(lane);
    let place = grid_place(group, groups, (outer + TILE - 1u) / TILE);
    let first_row = TILE * place.y;
    let first_n = TILE * place.x;
    let subgroup = lane / 32u;
    let down = 64u * (subgroup / 4u);
    let across = 32u * (subgroup % 4u);

    var sums_00 = coop_mat16x16<f32, C>();
    var sums_01 = coop_mat16x16<f32, C>();
    var sums_10 = coop_mat16x16<f32, C>();
    var sums_11 = coop_mat16x16<f32, C>();
    var sums_20 = coop_mat16x16<f32, C>();
    var sums_21 = coop_mat16x16<f32, C>();
    var sums_30 = coop_mat16x16<f32, C>();
    var sums_31 = coop_mat16x16<f32, C>();

    // A lane loads 4 vectors of each half of x and of W.
    let x_row = first_row + lane / DEPTH;
    let x_k = lane % DEPTH;
    var next_first_0 = halves_at(x_row, x_k, steps, 0u);
    var next_first_1 = halves_at(x_row + 32u, x_k, steps, 0u);
    var next_first_2 = halves_at(x_row + 64u, x_k, steps, 0u);
    var next_first_3 = halves_at(x_row + 96u, x_k, steps, 0u);
    var next_second_0 = halves_at(x_row, x_k, steps, steps);
    var next_second_1 = halves_at(x_row + 32u, x_k, steps, steps);
    var next_second_2 = halves_at(x_row + 64u, x_k, steps, steps);
    var next_second_3 = halves_at(x_row + 96u, x_k, steps, steps);
    var next_w_0 = of_w(lane, first_n, 0u);
    var next_w_1 = of_w(lane + 256u, first_n, 0u);
    var next_w_2 = of_w(lane + 512u, first_n, 0u);
    var next_w_3 = of_w(lane + 768u, first_n, 0u);
    for (var k = 0u; k < steps; k += DEPTH) {
        workgroupBarrier();
        x_first[place_along(lane)] = next_first_0;
        x_first[place_along(lane + 256u)] = next_first_1;
        x_first[place_along(lane + 512u)] = next_first_2;
        x_first[place_along(lane + 768u)] = next_first_3;
        x_second[place_along(lane)] = next_second_0;
        x_second[place_along(lane + 256u)] = next_second_1;
        x_second[place_along(lane + 512u)] = next_second_2;
        x_second[place_along(lane + 768u)] = next_second_3;
        keep_w(lane, next_w_0);
        keep_w(lane + 256u, next_w_1);
        keep_w(lane + 512u, next_w_2);
        keep_w(lane + 768u, next_w_3);
        workgroupBarrier();
        let next = k + DEPTH;
        next_first_0 = halves_at(x_row, next + x_k, steps, 0u);
        next_first_1 = halves_at(x_row + 32u, next + x_k, steps, 0u);
        next_first_2 = halves_at(x_row + 64u, next + x_k, steps, 0u);
        next_first_3 = halves_at(x_row + 96u, next + x_k, steps, 0u);
        next_second_0 = halves_at(x_row, next + x_k, steps, steps);
        next_second_1 = halves_at(x_row + 32u, next + x_k, steps, steps);
        next_second_2 = halves_at(x_row + 64u, next + x_k, steps, steps);
        next_second_3 = halves_at(x_row + 96u, next + x_k, steps, steps);
        next_w_0 = of_w(lane, first_n, next);
        next_w_1 = of_w(lane + 256u, first_n, next);
        next_w_2 = of_w(lane + 512u, first_n, next);
        next_w_3 = of_w(lane + 768u, first_n, next);
        for (var depth = 0u; depth < DEPTH; depth += 4u) {
            var w_0: coop_mat16x16<f16, B>;
            var w_1: coop_mat16x16<f16, B>;
            if ALONG_ROWS {
                let start = across * PITCH + depth;
                w_0 = coopLoad<coop_mat16x16<f16, B>>(&w_tile[start], PITCH);
                w_1 = coopLoad<coop_mat16x16<f16, B>>(&w_tile[start + 16u * PITCH], PITCH);
            } else {
                let start = 4u * depth * W_PITCH + across / 4u;
                w_0 = coopLoadT<coop_mat16x16<f16, B>>(&w_tile[start], W_PITCH);
                w_1 = coopLoadT<coop_mat16x16<f16, B>>(&w_tile[start + 4u], W_PITCH);
            }
            let at = down * PITCH + depth;
            let first_0 = coopLoadT<coop_mat16x16<f16, A>>(&x_first[at], PITCH);
            sums_00 = coopMultiplyAdd(first_0, w_0, sums_00);
            sums_01 = coopMultiplyAdd(first_0, w_1, sums_01);
            let first_1 = coopLoadT<coop_mat16x16<f16, A>>(&x_first[at + 16u * PITCH], PITCH);
            sums_10 = coopMultiplyAdd(first_1, w_0, sums_10);
            sums_11 = coopMultiplyAdd(first_1, w_1, sums_11);
            let first_2 = coopLoadT<coop_mat16x16<f16, A>>(&x_first[at + 32u * PITCH], PITCH);
            sums_20 = coopMultiplyAdd(first_2, w_0, sums_20);
            sums_21 = coopMultiplyAdd(first_2, w_1, sums_21);
            let first_3 = coopLoadT<coop_mat16x16<f16, A>>(&x_first[at + 48u * PITCH], PITCH);
            sums_30 = coopMultiplyAdd(first_3, w_0, sums_30);
            sums_31 = coopMultiplyAdd(first_3, w_1, sums_31);
            let second_0 = coopLoadT<coop_mat16x16<f16, A>>(&x_second[at], PITCH);
            sums_00 = coopMultiplyAdd(second_0, w_0, sums_00);
            sums_01 = coopMultiplyAdd(second_0, w_1, sums_01);
            let second_1 = coopLoadT<coop_mat16x16<f16, A>>(&x_second[at + 16u * PITCH], PITCH);
            sums_10 = coopMultiplyAdd(second_1, w_0, sums_10);
            sums_11 = coopMultiplyAdd(second_1, w_1, sums_11);
            let second_2 = coopLoadT<coop_mat16x16<f16, A>>(&x_second[at + 32u * PITCH], PITCH);
            sums_20 = coopMultiplyAdd(second_2, w_0, sums_20);
            sums_21 = coopMultiplyAdd(second_2, w_1, sums_21);
            let second_3 = coopLoadT<coop_mat16x16<f16, A>>(&x_second[at + 48u * PITCH], PITCH);
            sums_30 = coopMultiplyAdd(second_3, w_0, sums_30);
            sums_31 = coopMultiplyAdd(second_3, w_1, sums_31);
        }
    }

    let out = 256u * subgroup;
    let row = first_row + down;
    let n = first_n + across;
    workgroupBarrier();
    coopStoreT(sums_00, &finished[out], 16u);
    workgroupBarrier();
    put(lane, row, n);
    workgroupBarrier();
    coopStoreT(sums_01, &finished[out], 16u);
    workgroupBarrier();
    put(lane, row, n + 16u);
    workgroupBarrier();
    coopStoreT(sums_10, &finished[out], 16u);
    workgroupBarrier();
    put(lane, row + 16u, n);
    workgroupBarrier();
    coopStoreT(sums_11, &finished[out], 16u);
    workgroupBarrier();
    put(lane, row + 16u, n + 16u);
    workgroupBarrier();
    coopStoreT(sums_20, &finished[out], 16u);
    workgroupBarrier();
    put(lane, row + 32u, n);
    workgroupBarrier();
    coopStoreT(sums_21, &finished[out], 16u);
    workgroupBarrier();
    put(lane, row + 32u, n + 16u);
    workgroupBarrier();
    coopStoreT(sums_30, &finished[out], 16u);
    workgroupBarrier();
    put(lane, row + 48u, n);
    workgroupBarrier();
    coopStoreT(sums_31, &finished[out], 16u);
    workgroupBarrier();
    put(lane, row + 48u, n + 16u);
}
