// What both backward passes of blockwise attention read besides shared/attention.wgsl, which this needs: the bindings `grad`,
// shaped like the queries, and `rows`, as attention_rows.wgsl has written them.

// Whether a key is no padding; what lies beyond the last key is for `visible` to say.
fn kept(place: Place, key: u32) -> bool {
    if key >= sizes.keys {
        return true;
    }
    return rows[2u * sizes.sequences * sizes.width * sizes.heads + place.sequence * sizes.keys + key] != 0.0;
}

// Log of the sum of exponentials and sum(p * dp) of a query row.
fn known(place: Place, row: u32) -> vec2<f32> {
    if row >= query_rows() {
        return vec2<f32>();
    }
    let at = 2u * query_index(place, row);
    return vec2<f32>(rows[at], rows[at + 1u]);
}

// A vector of the result's gradient; zeros beyond an edge.
fn grad_at(place: Place, row: u32, vector: u32) -> vec4<f32> {
    let at = query_vector(place, row, vector);
    if at == NOTHING {
        return vec4<f32>();
    }
    return grad[at];
}

// What a workgroup goes over of the blocks from the first to the one behind the last, where several share them.
fn own_part(blocks: vec2<u32>, place: Place) -> vec2<u32> {
    let count = blocks.y - min(blocks.x, blocks.y);
    return blocks.x + vec2<u32>(count * place.share, count * (place.share + 1u)) / sizes.shares;
}
