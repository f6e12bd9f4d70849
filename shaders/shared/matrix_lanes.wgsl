// What the LANES x LANES lanes of a workgroup do with a tile of TILE = 8 LANES tokens and outer numbers: lane (a, b) has the rows
// b + LANES i, i = 0..7, and of each eight outer numbers in two halves. Needs shared/matrix.wgsl, the constants LANES, TILE and
// PITCH, and the tile of W, `w_tile`: along rows [depth, PITCH], across [4 depth, TILE / 4].

// The lane's share of the weights at inner vector `depth`, half 0 or 1: element [j] belongs to inner number 4 depth + j.
fn share(depth: u32, half: u32, across: u32) -> mat4x4<f32> {
    if ALONG_ROWS {
        let at = depth * PITCH + 4u * LANES * half + across;
        return transpose(mat4x4<f32>(
            w_tile[at],
            w_tile[at + LANES],
            w_tile[at + 2u * LANES],
            w_tile[at + 3u * LANES],
        ));
    }
    let at = TILE * depth + LANES * half + across;
    return mat4x4<f32>(
        w_tile[at],
        w_tile[at + 2u * LANES],
        w_tile[at + 4u * LANES],
        w_tile[at + 6u * LANES],
    );
}

// Writes one row's share of half 0 or 1.
fn put(row: u32, first_n: u32, half: u32, across: u32, sums: vec4<f32>) {
    if !ALONG_ROWS {
        let n = first_n / 4u + LANES * half + across;
        if 4u * n < outer {
            store(row, n, sums);
        }
        return;
    }
    if row >= tokens {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        let n = first_n + 4u * LANES * half + across + LANES * i;
        if n < outer {
            y[row * outer + n] = plus(sums[i], row, n);
        }
    }
}

fn put_four(row: u32, first_n: u32, half: u32, across: u32, sums: mat4x4<f32>) {
    put(row, first_n, half, across, sums[0]);
    put(row + LANES, first_n, half, across, sums[1]);
    put(row + 2u * LANES, first_n, half, across, sums[2]);
    put(row + 3u * LANES, first_n, half, across, sums[3]);
}
