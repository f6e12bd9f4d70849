// The gradient of a weight one side of which is narrow, like those of a low-rank product. A lane has four neighbours of the wide
// side and up to sixteen of the narrow one: it alone reads its vectors of the wide matrix, in lines with its neighbours, and all lanes
// of a workgroup read the same vectors of the narrow one. So no workgroup memory and no barrier is needed.
// Needs the constants LEFT_IS_WIDE and VECTORS (of the narrow side: 1, 2 or 4), shared/grid.wgsl and shared/weight_gradient.wgsl in front.
// Composed twin: kernel::weight_gradient::composed.

// A vector of the wide matrix; zeros beyond the last token.
fn wide(token: u32, end: u32, width: u32, vector: u32) -> vec4<f32> {
    if token >= end {
        return vec4<f32>();
    }
    if LEFT_IS_WIDE {
        return left[token * width + vector];
    }
    return right[token * width + vector];
}

// A vector of the narrow one; tokens beyond the last are not multiplied by anything.
fn narrow(token: u32, end: u32, width: u32, vector: u32) -> vec4<f32> {
    let at = min(token, end - 1u) * width + min(vector, width - 1u);
    if LEFT_IS_WIDE {
        return right[at];
    }
    return left[at];
}

// Element [i] of the sums belongs to narrow number 4 vector + i.
fn keep(part: u32, vector: u32, wide_vector: u32, sums: mat4x4<f32>) {
    if LEFT_IS_WIDE {
        if 4u * vector < dims[2] {
            put_four(part, 4u * wide_vector, 4u * vector, transpose(sums));
        }
        return;
    }
    put_four(part, 4u * vector, 4u * wide_vector, sums);
}

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let wide_width = (select(dims[2], dims[1], LEFT_IS_WIDE) + 3u) / 4u;
    let narrow_width = (select(dims[1], dims[2], LEFT_IS_WIDE) + 3u) / 4u;
    let place = grid_place(group, groups, (wide_width + 63u) / 64u);
    let part = place.y / dims[4];
    let first = VECTORS * (place.y % dims[4]);
    let wide_vector = 64u * place.x + lane;
    if wide_vector >= wide_width || !is_part(part) {
        return;
    }
    let begin = part * dims[3];
    let end = min(dims[0], begin + dims[3]);
    var sums_0 = mat4x4<f32>();
    var sums_1 = mat4x4<f32>();
    var sums_2 = mat4x4<f32>();
    var sums_3 = mat4x4<f32>();
    // Four tokens a round, so that four reads are under way at once.
    for (var token = begin; token < end; token += 4u) {
        let wide_0 = wide(token, end, wide_width, wide_vector);
        let wide_1 = wide(token + 1u, end, wide_width, wide_vector);
        let wide_2 = wide(token + 2u, end, wide_width, wide_vector);
        let wide_3 = wide(token + 3u, end, wide_width, wide_vector);
        sums_0 = more(sums_0, narrow(token, end, narrow_width, first), wide_0);
        sums_0 = more(sums_0, narrow(token + 1u, end, narrow_width, first), wide_1);
        sums_0 = more(sums_0, narrow(token + 2u, end, narrow_width, first), wide_2);
        sums_0 = more(sums_0, narrow(token + 3u, end, narrow_width, first), wide_3);
        if VECTORS > 1u {
            sums_1 = more(sums_1, narrow(token, end, narrow_width, first + 1u), wide_0);
            sums_1 = more(sums_1, narrow(token + 1u, end, narrow_width, first + 1u), wide_1);
            sums_1 = more(sums_1, narrow(token + 2u, end, narrow_width, first + 1u), wide_2);
            sums_1 = more(sums_1, narrow(token + 3u, end, narrow_width, first + 1u), wide_3);
        }
        if VECTORS > 2u {
            sums_2 = more(sums_2, narrow(token, end, narrow_width, first + 2u), wide_0);
            sums_2 = more(sums_2, narrow(token + 1u, end, narrow_width, first + 2u), wide_1);
            sums_2 = more(sums_2, narrow(token + 2u, end, narrow_width, first + 2u), wide_2);
            sums_2 = more(sums_2, narrow(token + 3u, end, narrow_width, first + 2u), wide_3);
            sums_3 = more(sums_3, narrow(token, end, narrow_width, first + 3u), wide_0);
            sums_3 = more(sums_3, narrow(token + 1u, end, narrow_width, first + 3u), wide_1);
            sums_3 = more(sums_3, narrow(token + 2u, end, narrow_width, first + 3u), wide_2);
            sums_3 = more(sums_3, narrow(token + 3u, end, narrow_width, first + 3u), wide_3);
        }
    }
    keep(part, first, wide_vector, sums_0);
    if VECTORS > 1u {
        keep(part, first + 1u, wide_vector, sums_1);
    }
    if VECTORS > 2u {
        keep(part, first + 2u, wide_vector, sums_2);
        keep(part, first + 3u, wide_vector, sums_3);
    }
}
