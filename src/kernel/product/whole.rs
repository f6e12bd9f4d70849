//! Products of whole matrices, on all threads: the linear layers of the CPU device.
//!
//! The right matrix is brought into panels a few megabytes at a time, and each task computes a strip of the result's rows:
//! its part of the left matrix stays in a core's second-level cache and a panel in the first, block of depth by block.

use std::{cell::Cell, mem::MaybeUninit};

use rayon::prelude::*;

use super::{Left, Out, PANEL, Right, Sizes, gathered_panel, multiply, transposed_panel};

/// Rows of a strip at most.
const STRIP: usize = 96;
/// Depth of a block: a panel of it and a few rows of the left matrix fill the first-level cache.
const DEPTH: usize = 384;
/// Numbers of the right matrix that are in panels at one time.
const PACKED: usize = 1 << 20;
/// Multiplications below which waking another thread costs more than it saves.
const ALONE: usize = 3 << 20;
/// Numbers below which panels are packed on one thread.
const PACKED_ALONE: usize = 1 << 16;

thread_local! {
    /// Panels, kept from product to product.
    static PANELS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// A right matrix `[depth, columns]`: the number `(p, j)` stands at `p * row + j * step`, and one of the two is 1.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Operand<'a> {
    /// The numbers.
    pub values: &'a [f32],
    /// From row to row.
    pub row: usize,
    /// From column to column.
    pub step: usize,
}

impl<'a> Operand<'a> {
    /// A matrix `[rows, width]` that is stored by rows.
    pub(in crate::kernel) fn stored(values: &'a [f32], width: usize) -> Self {
        Self { values, row: width, step: 1 }
    }

    /// The transpose `[width, rows]` of a matrix `[rows, width]` that is stored by rows.
    pub(in crate::kernel) fn transpose_of(values: &'a [f32], width: usize) -> Self {
        Self { values, row: 1, step: width }
    }
}

impl<'a> From<Operand<'a>> for Left<'a> {
    fn from(matrix: Operand<'a>) -> Self {
        Self { values: matrix.values, row: matrix.row, step: matrix.step }
    }
}

/// The product `[rows, columns]` of two matrices, with `bias` `[columns]` added to each row where there is one.
pub(in crate::kernel) fn product(left: Operand, right: Operand, sizes: Sizes, bias: Option<&[f32]>) -> Vec<f32> {
    let Sizes { rows, columns, depth } = sizes;
    let mut out = Vec::with_capacity(rows * columns);
    if rows == 0 || columns == 0 {
        return out;
    }
    let block = (PACKED / depth.max(1) / PANEL * PANEL).clamp(PANEL, columns.next_multiple_of(PANEL));
    let mut packed = PANELS.take();
    for first in (0..columns).step_by(block) {
        let width = block.min(columns - first);
        pack(&mut packed, right, first, width, depth);
        let task = |strip: &mut [f32], row: usize| {
            let rows = strip.len() / columns;
            for start in (0..depth).step_by(DEPTH) {
                let out = Out { values: &mut strip[first..], stride: columns, add: true };
                let left = Left { values: &left.values[row * left.row + start * left.step..], ..left.into() };
                let right = Right { values: &packed[start * PANEL..], row: PANEL, panel: PANEL * depth };
                multiply(out, left, right, Sizes { rows, columns: width, depth: DEPTH.min(depth - start) });
            }
        };
        if first == 0 {
            let room = &mut out.spare_capacity_mut()[..rows * columns];
            for_each_strip(room, columns, sizes, |strip, row| task(begin(strip, bias, columns), row));
            // SAFETY: the strips cover the whole result, and each was filled before anything was added to it.
            unsafe { out.set_len(rows * columns) };
        } else {
            for_each_strip(&mut out, columns, sizes, task);
        }
    }
    PANELS.set(packed);
    out
}

/// What a strip begins with: the bias in each row, or zeros.
fn begin<'a>(strip: &'a mut [MaybeUninit<f32>], bias: Option<&[f32]>, columns: usize) -> &'a mut [f32] {
    for row in strip.chunks_exact_mut(columns) {
        match bias {
            Some(bias) => {
                row.write_copy_of_slice(bias);
            }
            None => row.fill(MaybeUninit::new(0.0)),
        }
    }
    // SAFETY: every row was written from its first number to its last, and a strip is made of whole rows.
    unsafe { strip.assume_init_mut() }
}

/// Calls `task` with each strip of rows and the number of its first row, on all threads where that is worth it.
fn for_each_strip<T: Send>(values: &mut [T], columns: usize, sizes: Sizes, task: impl Fn(&mut [T], usize) + Sync) {
    if sizes.rows * sizes.columns * sizes.depth < ALONE {
        task(values, 0);
        return;
    }
    // As many strips for each thread, so that none waits for another.
    let strips = sizes.rows.div_ceil(STRIP).next_multiple_of(rayon::current_num_threads());
    let step = sizes.rows.div_ceil(strips).next_multiple_of(4);
    values.par_chunks_mut(step * columns).enumerate().for_each(|(at, strip)| task(strip, at * step));
}

/// Brings columns `first..first + width` of the right matrix into panels `[width / PANEL, depth, PANEL]`.
fn pack(packed: &mut Vec<f32>, right: Operand, first: usize, width: usize, depth: usize) {
    packed.resize(width.next_multiple_of(PANEL) * depth, 0.0);
    let panel = |(at, packed): (usize, &mut [f32])| {
        let column = first + at * PANEL;
        let count = PANEL.min(first + width - column);
        if right.step == 1 {
            gathered_panel(packed, &right.values[column..], right.row, count);
        } else {
            transposed_panel(packed, &right.values[column * right.step..], right.step, count);
        }
    };
    if packed.len() < PACKED_ALONE {
        packed.chunks_exact_mut(PANEL * depth).enumerate().for_each(panel);
    } else {
        packed.par_chunks_exact_mut(PANEL * depth).enumerate().for_each(panel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_any_shape_equal_their_definition() {
        let numbers = |len: usize, seed: usize| -> Vec<f32> {
            (0..len).map(|at| ((at * 29 + seed * 7) % 19) as f32 / 8.0 - 1.0).collect()
        };
        let shapes = [(1, 1, 1), (3, 40, 5), (97, 33, 401), (200, 70, 100), (130, 1, 900), (5, 3000, 400)];
        for (rows, columns, depth) in shapes {
            let (a, b, bias) = (numbers(rows * depth, 1), numbers(depth * columns, 2), numbers(columns, 3));
            let sizes = Sizes { rows, columns, depth };
            let sum = |at: usize| -> f64 {
                let (i, j) = (at / columns, at % columns);
                (0..depth).map(|p| f64::from(a[i * depth + p]) * f64::from(b[p * columns + j])).sum()
            };
            let a_transposed: Vec<f32> = (0..a.len()).map(|at| a[at % rows * depth + at / rows]).collect();
            let b_transposed: Vec<f32> = (0..b.len()).map(|at| b[at % depth * columns + at / depth]).collect();
            for left in [Operand::stored(&a, depth), Operand::transpose_of(&a_transposed, rows)] {
                for right in [Operand::stored(&b, columns), Operand::transpose_of(&b_transposed, depth)] {
                    for bias in [None, Some(&bias[..])] {
                        for (at, value) in product(left, right, sizes, bias).into_iter().enumerate() {
                            let expected = sum(at) + bias.map_or(0.0, |bias| f64::from(bias[at % columns]));
                            let close = (f64::from(value) - expected).abs() < 1e-4 * depth as f64;
                            assert!(close, "{sizes:?} at {at}: {value} but should be {expected}");
                        }
                    }
                }
            }
        }
    }
}
