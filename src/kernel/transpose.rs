//! Transposing matrices on the CPU, eight by eight numbers at a time where the processor has AVX2.

/// Rows and columns that are transposed together.
#[cfg(any(target_arch = "x86_64", test))]
const BLOCK: usize = 8;

/// `to[c * to_stride + r] = from[r * from_stride + c]` for `rows` rows of `width` numbers.
///
/// # Panics
/// A slice is too short for that.
pub(super) fn transpose(to: &mut [f32], to_stride: usize, from: &[f32], from_stride: usize, [rows, width]: [usize; 2]) {
    if rows == 0 || width == 0 {
        return;
    }
    assert!((rows - 1) * from_stride + width <= from.len(), "all rows are there");
    assert!((width - 1) * to_stride + rows <= to.len(), "there is room for all columns");
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        let [whole_rows, whole_width] = [rows, width].map(|side| side - side % BLOCK);
        // Two blocks of rows in turn: they share the lines of the cache that are written.
        for pair in (0..whole_rows).step_by(2 * BLOCK) {
            for column in (0..whole_width).step_by(BLOCK) {
                for row in (pair..whole_rows.min(pair + 2 * BLOCK)).step_by(BLOCK) {
                    // SAFETY: the processor has AVX2, and the block lies within both matrices, whose extents were checked.
                    unsafe {
                        let from = from.as_ptr().add(row * from_stride + column);
                        avx2::block(to.as_mut_ptr().add(column * to_stride + row), to_stride, from, from_stride);
                    }
                }
            }
        }
        one_by_one(to, to_stride, from, from_stride, [0..whole_rows, whole_width..width]);
        one_by_one(to, to_stride, from, from_stride, [whole_rows..rows, 0..width]);
        return;
    }
    one_by_one(to, to_stride, from, from_stride, [0..rows, 0..width]);
}

fn one_by_one(
    to: &mut [f32],
    to_stride: usize,
    from: &[f32],
    from_stride: usize,
    [rows, columns]: [std::ops::Range<usize>; 2],
) {
    for row in rows {
        for column in columns.clone() {
            to[column * to_stride + row] = from[row * from_stride + column];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_unpackhi_ps,
        _mm256_unpacklo_ps,
    };

    /// Eight rows of eight numbers.
    ///
    /// # Safety
    /// Both blocks lie within memory that may be read and written.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn block(to: *mut f32, to_stride: usize, from: *const f32, from_stride: usize) {
        // SAFETY: the caller vouches for eight rows of eight numbers on either side.
        unsafe {
            let row = |i: usize| _mm256_loadu_ps(from.add(i * from_stride));
            // Pairs of rows, then fours, then halves: three rounds of shuffles.
            let mut pairs = [row(0); 8];
            for i in 0..4 {
                let (a, b) = (row(2 * i), row(2 * i + 1));
                (pairs[2 * i], pairs[2 * i + 1]) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            }
            let mut fours = pairs;
            for half in [0, 4] {
                for i in 0..2 {
                    let (a, b) = (pairs[half + i], pairs[half + i + 2]);
                    fours[half + 2 * i] = _mm256_shuffle_ps::<0x44>(a, b);
                    fours[half + 2 * i + 1] = _mm256_shuffle_ps::<0xEE>(a, b);
                }
            }
            for i in 0..4 {
                let (a, b) = (fours[i], fours[i + 4]);
                _mm256_storeu_ps(to.add(i * to_stride), _mm256_permute2f128_ps::<0x20>(a, b));
                _mm256_storeu_ps(to.add((i + 4) * to_stride), _mm256_permute2f128_ps::<0x31>(a, b));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_changes_its_place() {
        for (rows, width) in [(1, 1), (8, 8), (7, 9), (16, 24), (19, 33)] {
            let (from_stride, to_stride) = (width + 3, rows + 2);
            let from: Vec<f32> = (0..rows * from_stride).map(|at| at as f32).collect();
            let mut to = vec![-1.0; width * to_stride];
            transpose(&mut to, to_stride, &from, from_stride, [rows, width]);
            for (at, value) in to.iter().enumerate() {
                let (column, row) = (at / to_stride, at % to_stride);
                let expected = if row < rows { from[row * from_stride + column] } else { -1.0 };
                assert_eq!(*value, expected, "{rows} x {width}: row {row}, column {column}");
            }
        }
    }
}
