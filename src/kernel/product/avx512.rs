//! The products of [`super`] on processors with AVX-512, whose thirty-two registers hold twelve rows by thirty-two columns.

use std::arch::x86_64::{
    __mmask16, _mm512_add_ps, _mm512_fmadd_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps,
    _mm512_setzero_ps,
};

use super::layout::{Left, Out, PANEL, Right, Sizes};

/// Panels that are computed together.
const PANELS: usize = 2;

/// Strides of the three matrices, from one number of the inner loop to the next.
#[derive(Clone, Copy)]
struct Strides {
    out: usize,
    left: [usize; 2],
    right: [usize; 2],
    depth: usize,
    add: bool,
}

/// Multiplies two matrices.
///
/// # Panics
/// A matrix is smaller than `sizes` says.
#[target_feature(enable = "avx512f")]
pub(super) fn multiply(out: Out, left: Left, right: Right, sizes: Sizes) {
    let Sizes { rows, columns, depth } = sizes;
    if rows == 0 || columns == 0 {
        return;
    }
    // The loops below follow pointers: everything that they touch lies before these places.
    let deepest = depth.saturating_sub(1);
    assert!((rows - 1) * out.stride + columns <= out.values.len(), "the result has room");
    assert!(depth == 0 || (rows - 1) * left.row + deepest * left.step < left.values.len(), "a whole left matrix");
    let last = (columns - 1) / PANEL * right.panel + deepest * right.row + (columns - 1) % PANEL;
    assert!(depth == 0 || last < right.values.len(), "a whole right matrix");
    let strides =
        Strides { out: out.stride, left: [left.row, left.step], right: [right.row, right.panel], depth, add: out.add };
    for column in (0..columns).step_by(PANELS * PANEL) {
        let width = (columns - column).min(PANELS * PANEL);
        // SAFETY: the column is one of the result and of the right matrix, whose extents were checked above; the mask cuts
        // the last panel to its own columns.
        unsafe {
            let out = out.values.as_mut_ptr().add(column);
            let right = right.values.as_ptr().add(column / PANEL * right.panel);
            let mask = __mmask16::MAX >> (width.next_multiple_of(PANEL) - width);
            if width > PANEL {
                all_rows::<PANELS>(out, left.values.as_ptr(), right, mask, strides, rows);
            } else {
                all_rows::<1>(out, left.values.as_ptr(), right, mask, strides, rows);
            }
        }
    }
}

/// All rows of `P` panels, twelve at a time and what is left in smaller groups.
///
/// # Safety
/// `rows` rows of the matrices lie behind the pointers, and of the last panel the columns of `mask`.
#[target_feature(enable = "avx512f")]
unsafe fn all_rows<const P: usize>(
    out: *mut f32,
    left: *const f32,
    right: *const f32,
    mask: __mmask16,
    strides: Strides,
    rows: usize,
) {
    let mut row = 0;
    while row < rows {
        // SAFETY: each group begins at a row that there is and has no more rows than are left.
        row += unsafe {
            let (out, left) = (out.add(row * strides.out), left.add(row * strides.left[0]));
            match rows - row {
                12.. => tile::<12, P>(out, left, right, mask, strides),
                8.. => tile::<8, P>(out, left, right, mask, strides),
                4.. => tile::<4, P>(out, left, right, mask, strides),
                2.. => tile::<2, P>(out, left, right, mask, strides),
                _ => tile::<1, P>(out, left, right, mask, strides),
            }
        };
    }
}

/// `R` rows of `P` panels, of the last of which only the columns of `mask`. Returns `R`.
///
/// # Safety
/// That many numbers lie behind the pointers.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(clippy::needless_range_loop, reason = "iterators keep the sums out of registers")]
unsafe fn tile<const R: usize, const P: usize>(
    out: *mut f32,
    left: *const f32,
    right: *const f32,
    mask: __mmask16,
    strides: Strides,
) -> usize {
    let mut masks = [__mmask16::MAX; P];
    masks[P - 1] = mask;
    let mut sums = [[_mm512_setzero_ps(); P]; R];
    // SAFETY: `p` stays below the depth, `i` below the rows and `j` below the panels that the caller vouches for.
    unsafe {
        for p in 0..strides.depth {
            let mut line = [_mm512_setzero_ps(); P];
            for j in 0..P {
                line[j] = _mm512_maskz_loadu_ps(masks[j], right.add(j * strides.right[1] + p * strides.right[0]));
            }
            for i in 0..R {
                let factor = _mm512_set1_ps(*left.add(i * strides.left[0] + p * strides.left[1]));
                for j in 0..P {
                    sums[i][j] = _mm512_fmadd_ps(factor, line[j], sums[i][j]);
                }
            }
        }
        for i in 0..R {
            for j in 0..P {
                let at = out.add(i * strides.out + j * PANEL);
                let sum = if strides.add {
                    _mm512_add_ps(_mm512_maskz_loadu_ps(masks[j], at), sums[i][j])
                } else {
                    sums[i][j]
                };
                _mm512_mask_storeu_ps(at, masks[j], sum);
            }
        }
    }
    R
}
