// Token ids in order, each with the tokens that have it in order, one invocation a token: its place is the number of tokens that
// come before it. Reading all ids for each token is little beside what a step does with a token.
// Composed twin: a stable sort, kernel::embedding_gather::sorted.

@group(0) @binding(0) var<storage, read_write> ids: array<u32>;     // [tokens]
@group(0) @binding(1) var<storage, read_write> sorted: array<u32>;  // [2, tokens]: the ids, then the tokens
@group(0) @binding(2) var<storage, read_write> dims: array<u32>;    // tokens

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let tokens = dims[0];
    let token = id.y * groups.x * 64u + id.x;
    if token >= tokens {
        return;
    }
    let own = ids[token];
    var place = 0u;
    for (var other = 0u; other < token; other++) {
        place += select(0u, 1u, ids[other] <= own);
    }
    for (var other = token + 1u; other < tokens; other++) {
        place += select(0u, 1u, ids[other] < own);
    }
    sorted[place] = own;
    sorted[tokens + place] = token;
}
