//! Arithmetic for the plain-Rust kernels in forms that the compiler turns into vector instructions: functions without
//! branches or calls, and sums in independent lanes. Everything here is inlined into the loop that uses it.

/// Independent partial sums of a reduction.
const LANES: usize = 16;

/// Runs `work` compiled for AVX2 where the processor has it: the loops inside get vectors twice as wide. The results
/// are the same bit for bit, since nothing is fused or reordered. Called through [`wide!`], because a closure that is not
/// inlined is not compiled for AVX2 either.
#[inline(always)]
pub(super) fn run_wide<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn avx2<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has just been found to have AVX2.
            return unsafe { avx2(work) };
        }
    }
    work()
}

/// `e^x` within 2e-7 of its value; 0 below the smallest normal number, and never more than e^88.3.
///
/// `2^n * e^r` with `n` the nearest integer to `x / ln 2` and a polynomial for `e^r` (Cody and Waite 1980, with the
/// coefficients of Moshier's Cephes library).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.33;
    const HIGHEST: f32 = 88.3;
    /// 1.5 * 2^23: adding it rounds to an integer, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first of which times `n` is exact.
    const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

    let clamped = x.clamp(LOWEST, HIGHEST);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2[0] - n * LN2[1];
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + coefficient;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    let value = (p * r * r + r + 1.0) * power;
    if x < LOWEST { 0.0 } else { value }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The error function within 2e-7, given `gauss = e^-x^2`, which the derivative needs as well.
///
/// Up to 1 an odd polynomial, beyond it `1 - t poly(t) e^-x^2` with `t = 1 / (1 + 0.4 |x|)`: the form of Hastings
/// (Abramowitz and Stegun 1964, 7.1.26). Both are minimax fits of the absolute error, 4e-8 and 3e-8 before rounding.
#[inline(always)]
pub(super) fn erf(x: f32, gauss: f32) -> f32 {
    let distance = x.abs();
    let square = x * x;
    let mut near = -5.659_988e-4;
    for coefficient in [4.924_748e-3, -2.671_767e-2, 1.128_041e-1, -3.761_235_6e-1, 1.283_791_3e-1] {
        near = near * square + coefficient;
    }
    let t = 1.0 / (1.0 + 0.4 * distance);
    let mut tail = 6.220_927e-1;
    for coefficient in [-2.197_749_1e-1, 3.979_204e-1, 1.998_079e-1] {
        tail = tail * t + coefficient;
    }
    let far = (1.0 - tail * t * gauss).copysign(x);
    if distance > 1.0 { far } else { near * x + x }
}

/// The value of an expression, computed by [`run_wide`].
macro_rules! wide {
    ($work:expr) => {
        $crate::kernel::vector::run_wide(
            #[inline(always)]
            || $work,
        )
    };
}
pub(super) use wide;

/// Sum of `term` over the pairs of two slices of one length.
#[inline(always)]
pub(super) fn sum_of(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] += term(*a, *b);
    }
    sums.iter().sum()
}

/// Dot product of two slices of one length.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |a, b| a * b)
}

/// Replaces each number by `term` of it and returns their sum.
#[inline(always)]
pub(super) fn map_sum(values: &mut [f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (blocks, rest) = values.as_chunks_mut::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            block[lane] = term(block[lane]);
            sums[lane] += block[lane];
        }
    }
    for (lane, value) in rest.iter_mut().enumerate() {
        *value = term(*value);
        sums[lane] += *value;
    }
    sums.iter().sum()
}

/// The largest number, or negative infinity of none; NaN counts only where nothing else does.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut tops = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            tops[lane] = larger(tops[lane], block[lane]);
        }
    }
    tops.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// erf by its Maclaurin series, in f64 good to 1e-9 below 4.
    fn exact_erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn exp_is_exact_to_two_units_in_the_last_place() {
        for step in -870_000..880_000 {
            let x = step as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) / exact - 1.0).abs();
            assert!(error < 2e-7, "exp({x}) is off by {error:e}");
        }
        assert_eq!((exp(0.0), exp(-1e30), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan() && exp(1e30) > 1e38);
    }

    #[test]
    fn erf_is_exact_to_two_in_ten_million() {
        for step in 0..40_000 {
            let x = step as f32 * 1e-4;
            let value = erf(x, exp(-x * x));
            let error = (f64::from(value) - exact_erf(f64::from(x))).abs();
            assert!(error < 2e-7, "erf({x}) is off by {error:e}");
            assert_eq!(erf(-x, exp(-x * x)), -value);
        }
        assert_eq!(erf(1e30, 0.0), 1.0);
        assert!(erf(f32::NAN, f32::NAN).is_nan());
    }

    #[test]
    fn reductions_count_every_number_once() {
        for len in [0, 1, 15, 16, 17, 100] {
            let mut values: Vec<f32> = (0..len).map(|at| at as f32).collect();
            let sum = (len * (len.max(1) - 1) / 2) as f32;
            assert_eq!(dot(&values, &vec![1.0; len]), sum);
            assert_eq!(largest(&values), if len == 0 { f32::NEG_INFINITY } else { (len - 1) as f32 });
            assert_eq!(wide!(map_sum(&mut values, |x| 2.0 * x)), 2.0 * sum);
            assert!(values.iter().enumerate().all(|(at, x)| *x == 2.0 * at as f32));
        }
    }
}
