// Where a workgroup stands in a grid that is `across` workgroups wide: a grid with more than 65,535 in a dimension is folded
// (launch::grid), and then there may be workgroups behind its last row.

fn grid_place(group: vec3<u32>, groups: vec3<u32>, across: u32) -> vec2<u32> {
    let at = group.y * groups.x + group.x;
    return vec2<u32>(at % across, at / across);
}
