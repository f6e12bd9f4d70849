//! Products of matrices on the CPU: of small ones, for kernels that work on one head or one strip at a time, and of whole
//! ones made of such strips.
//!
//! Four rows by sixteen columns of the result stay in registers, which is what hides the latency of AVX2's eight
//! multiply-adds in flight; with AVX-512 twelve rows by thirty-two. Small matrices are done before a library for large
//! ones has packed its operands.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod layout;
mod whole;

use std::array;

use super::transpose::transpose;
pub(super) use layout::{Left, Out, PANEL, Right, Sizes};
pub(super) use whole::{Operand, product};

/// Rows that are computed together.
const ROWS: usize = 4;

/// Multiplies two matrices, on the calling thread.
pub(super) fn multiply(out: Out, left: Left, right: Right, sizes: Sizes) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn fused(out: Out, left: Left, right: Right, sizes: Sizes) {
            panels::<true>(out, left, right, sizes);
        }
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has just been found to have AVX-512.
            return unsafe { avx512::multiply(out, left, right, sizes) };
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: the processor has just been found to have AVX2 and FMA.
            return unsafe { fused(out, left, right, sizes) };
        }
    }
    // Where the processor cannot do it in one instruction, a fused multiply-add is a slow function.
    panels::<{ cfg!(target_arch = "aarch64") }>(out, left, right, sizes);
}

#[inline(always)]
fn panels<const FUSED: bool>(mut out: Out, left: Left, right: Right, sizes: Sizes) {
    for start in (0..sizes.columns).step_by(PANEL) {
        let panel = Right { values: &right.values[start / PANEL * right.panel..], ..right };
        let width = PANEL.min(sizes.columns - start);
        let mut done = 0;
        if width == PANEL {
            columns::<FUSED, PANEL>(&mut out, start, left, panel, sizes);
            continue;
        }
        if width - done >= 8 {
            columns::<FUSED, 8>(&mut out, start + done, left, panel.from(done), sizes);
            done += 8;
        }
        if width - done >= 4 {
            columns::<FUSED, 4>(&mut out, start + done, left, panel.from(done), sizes);
            done += 4;
        }
        for at in done..width {
            columns::<FUSED, 1>(&mut out, start + at, left, panel.from(at), sizes);
        }
    }
}

impl<'a> Right<'a> {
    /// The columns from `at` of the first panel.
    #[inline(always)]
    fn from(&self, at: usize) -> Self {
        Self { values: &self.values[at..], ..*self }
    }
}

/// All rows of `N` columns.
#[inline(always)]
fn columns<const FUSED: bool, const N: usize>(out: &mut Out, column: usize, left: Left, right: Right, sizes: Sizes) {
    let (stride, add) = (out.stride, out.add);
    let mut row = 0;
    while row < sizes.rows {
        let values = &mut out.values[row * stride + column..];
        let rows = Left { values: &left.values[row * left.row..], ..left };
        if sizes.rows - row >= ROWS {
            tile::<FUSED, ROWS, N>(Out { values, stride, add }, rows, right, sizes.depth);
            row += ROWS;
        } else {
            tile::<FUSED, 1, N>(Out { values, stride, add }, rows, right, sizes.depth);
            row += 1;
        }
    }
}

/// `R` rows of `N` columns. Plain indices, because an iterator over the sums would make the compiler keep them in memory, at
/// a third of the speed.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators keep the sums out of registers")]
fn tile<const FUSED: bool, const R: usize, const N: usize>(out: Out, left: Left, right: Right, depth: usize) {
    let mut sums = [[0.0; N]; R];
    if left.step == 1 {
        let rows: [&[f32]; R] = array::from_fn(|i| &left.values[i * left.row..][..depth]);
        for p in 0..depth {
            let b = *right.values[p * right.row..].first_chunk().expect("a row of the right matrix");
            for i in 0..R {
                sums[i] = plus_multiple::<FUSED, N>(sums[i], rows[i][p], b);
            }
        }
    } else {
        for p in 0..depth {
            let b = *right.values[p * right.row..].first_chunk().expect("a row of the right matrix");
            let a: [f32; R] = *left.values[p * left.step..].first_chunk().expect("a column of the left matrix");
            for i in 0..R {
                sums[i] = plus_multiple::<FUSED, N>(sums[i], a[i], b);
            }
        }
    }
    for i in 0..R {
        let values: &mut [f32; N] = out.values[i * out.stride..].first_chunk_mut().expect("a row of the result");
        for j in 0..N {
            values[j] = if out.add { values[j] + sums[i][j] } else { sums[i][j] };
        }
    }
}

/// `sums + a * b`. Values go in and come out whole: in this form the compiler keeps them in vector registers.
#[inline(always)]
fn plus_multiple<const FUSED: bool, const N: usize>(sums: [f32; N], a: f32, b: [f32; N]) -> [f32; N] {
    let mut result = sums;
    for j in 0..N {
        result[j] = if FUSED { a.mul_add(b[j], sums[j]) } else { sums[j] + a * b[j] };
    }
    result
}

/// The transpose of `rows` rows of `width` numbers, `stride` apart, as a right matrix of panels `[rows / PANEL, width,
/// PANEL]`; the last panel is filled up with zeros.
pub(super) fn transposed(packed: &mut Vec<f32>, values: &[f32], stride: usize, rows: usize, width: usize) {
    packed.resize(rows.next_multiple_of(PANEL) * width, 0.0);
    for (panel, packed) in packed.chunks_exact_mut(width * PANEL).enumerate() {
        let first = panel * PANEL;
        transposed_panel(packed, &values[first * stride..], stride, PANEL.min(rows - first));
    }
}

/// One panel `[width, PANEL]` of the transpose of `rows` rows that begin with `values`, at most [`PANEL`].
fn transposed_panel(packed: &mut [f32], values: &[f32], stride: usize, rows: usize) {
    let width = packed.len() / PANEL;
    transpose(packed, PANEL, values, stride, [rows, width]);
    if rows < PANEL {
        packed.as_chunks_mut::<PANEL>().0.iter_mut().for_each(|line| line[rows..].fill(0.0));
    }
}

/// `rows` rows of `width` numbers, `stride` apart, as a right matrix of panels `[width / PANEL, rows, PANEL]`, the last one
/// filled up with zeros. Rows that are a power of two apart would fight for a few lines of the cache.
pub(super) fn gathered(packed: &mut Vec<f32>, values: &[f32], stride: usize, rows: usize, width: usize) {
    packed.resize(width.next_multiple_of(PANEL) * rows, 0.0);
    for (panel, packed) in packed.chunks_exact_mut(rows * PANEL).enumerate() {
        let first = panel * PANEL;
        gathered_panel(packed, &values[first..], stride, PANEL.min(width - first));
    }
}

/// One panel `[rows, PANEL]` of the first `count` columns of `values`, at most [`PANEL`].
fn gathered_panel(packed: &mut [f32], values: &[f32], stride: usize, count: usize) {
    for (row, line) in packed.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
        let values = &values[row * stride..][..count];
        match values.as_array() {
            Some(values) => *line = *values,
            None => {
                line[..count].copy_from_slice(values);
                line[count..].fill(0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_equal_their_definition() {
        let numbers = |len: usize, seed: usize| -> Vec<f32> {
            (0..len).map(|at| ((at * 37 + seed * 11) % 23) as f32 / 8.0 - 1.0).collect()
        };
        for (rows, columns, depth) in [(1, 1, 1), (4, 16, 3), (5, 33, 8), (9, 28, 17), (3, 13, 2), (16, 8, 40)] {
            let sizes = Sizes { rows, columns, depth };
            let (a, b) = (numbers(rows * depth, 1), numbers(depth * columns, 2));
            let expected: Vec<f32> = (0..rows * columns)
                .map(|at| (0..depth).map(|p| a[at / columns * depth + p] * b[p * columns + at % columns]).sum())
                .collect();
            let close = |what: &str, actual: &[f32]| {
                for (at, (x, y)) in actual.iter().zip(&expected).enumerate() {
                    assert!((x - y).abs() < 1e-4, "{what} of {sizes:?} at {at}: {x} but should be {y}");
                }
            };
            let left = Left { values: &a, row: depth, step: 1 };
            let right = Right { values: &b, row: columns, panel: PANEL };
            let mut out = vec![0.0; rows * columns];
            multiply(Out { values: &mut out, stride: columns, add: false }, left, right, sizes);
            close("the product", &out);
            out.fill(f32::NAN);
            panels::<false>(Out { values: &mut out, stride: columns, add: false }, left, right, sizes);
            close("the product on any processor", &out);
            let mut packed = Vec::new();
            gathered(&mut packed, &b, columns, depth, columns);
            let right = Right { values: &packed, row: PANEL, panel: PANEL * depth };
            out.fill(f32::NAN);
            multiply(Out { values: &mut out, stride: columns, add: false }, left, right, sizes);
            close("the product with panels", &out);

            // The left matrix by columns, the right one transposed and in panels, added to half of the result.
            let by_columns: Vec<f32> = (0..rows * depth).map(|at| a[at % rows * depth + at / rows]).collect();
            let right_transposed: Vec<f32> =
                (0..columns * depth).map(|at| b[at % depth * columns + at / depth]).collect();
            let mut packed = Vec::new();
            transposed(&mut packed, &right_transposed, depth, columns, depth);
            let stride = columns.next_multiple_of(PANEL);
            let mut wide = vec![7.0; rows * stride];
            for (wide, expected) in wide.chunks_mut(stride).zip(expected.chunks(columns)) {
                wide[..columns].iter_mut().zip(expected).for_each(|(x, y)| *x = y / 2.0);
            }
            let left = Left { values: &by_columns, row: 1, step: rows };
            let right = Right { values: &packed, row: PANEL, panel: PANEL * depth };
            multiply(Out { values: &mut wide, stride, add: true }, left, right, sizes);
            let narrow: Vec<f32> = wide.chunks(stride).flat_map(|row| row[..columns].iter().map(|x| x / 1.5)).collect();
            close("the sum", &narrow);
            assert!(wide.chunks(stride).all(|row| row[columns..].iter().all(|x| *x == 7.0)), "nothing else is written");
        }
    }
}
