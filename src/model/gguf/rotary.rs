//! The order of the rows of queries, keys and values: Hugging Face rotates the halves of a head, llama.cpp's Llama rotates
//! neighbours; and how far rotary frequencies are stretched.

use crate::model::{
    architecture::{Architecture, Positions, RopeScaling},
    family::Gguf,
};

/// Rows of each of `heads` heads in the order first of the one half, first of the other, second of the one, ...
/// `values` is `[rows, columns]`, or a vector `[rows]`.
pub(super) fn interleaved(values: &[f32], dims: &[usize], heads: usize) -> Vec<f32> {
    let columns = if dims.len() < 2 { 1 } else { dims[1] };
    let half = dims[0] / heads / 2;
    let mut ordered = Vec::with_capacity(values.len());
    for head in 0..heads {
        for place in 0..2 * half {
            let row = head * 2 * half + place % 2 * half + place / 2;
            ordered.extend_from_slice(&values[row * columns..(row + 1) * columns]);
        }
    }
    ordered
}

/// Rows of query, key and value of head 0, then those of head 1, ... in the order all queries, all keys, all values.
/// `values` is `[rows, columns]`, or a vector `[rows]`.
pub(super) fn queries_first(values: &[f32], dims: &[usize], heads: usize) -> Vec<f32> {
    let columns = if dims.len() < 2 { 1 } else { dims[1] };
    let part = dims[0] / heads / 3 * columns;
    let parts = |which: usize| (0..heads).flat_map(move |head| &values[(3 * head + which) * part..][..part]);
    (0..3).flat_map(parts).copied().collect()
}

/// The divisors `[head width / 2]` of the rotary frequencies that Llama 3.1 stretches; `None` without that scaling.
pub(super) fn factors(gguf: &Gguf, a: &Architecture) -> Option<Vec<f32>> {
    let Positions::Rotary(ropes) = &a.positions else { return None };
    let rope = ropes.first().filter(|_| gguf.neighbours)?;
    let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } = rope.scaling else {
        return None;
    };
    let head = a.head_dim;
    let divisor = |pair: usize| {
        let wavelength = std::f64::consts::TAU * rope.theta.powf(2.0 * pair as f64 / head as f64);
        let place = (original_context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
        // Low frequencies are divided, high ones kept, with a ramp between.
        let kept = place.clamp(0.0, 1.0);
        (1.0 / ((1.0 - kept) / factor + kept)) as f32
    };
    Some((0..head / 2).map(divisor).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::architecture::Rope;

    #[test]
    fn queries_come_before_keys_and_values() {
        let rows: Vec<f32> = (0..12).map(|row| row as f32).collect();
        let expected = [0.0, 1.0, 6.0, 7.0, 2.0, 3.0, 8.0, 9.0, 4.0, 5.0, 10.0, 11.0];
        assert_eq!(queries_first(&rows, &[12], 2), expected);
        assert_eq!(queries_first(&rows, &[6, 2], 2)[..4], [0.0, 1.0, 6.0, 7.0]);
    }

    #[test]
    fn halves_become_neighbours() {
        let rows: Vec<f32> = (0..8).map(|row| row as f32).collect();
        assert_eq!(interleaved(&rows, &[8], 2), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        let matrix: Vec<f32> = (0..8).map(|at| at as f32).collect();
        assert_eq!(interleaved(&matrix, &[4, 2], 1), [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
    }

    #[test]
    fn stretched_frequencies_have_three_parts() {
        let rope = Rope {
            theta: 10_000.0,
            share: 1.0,
            scaling: RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: 128.0,
            },
        };
        let a = Architecture { head_dim: 64, positions: Positions::Rotary(vec![rope]), ..Architecture::default() };
        assert_eq!(factors(&Gguf::plain("plain"), &a), None);
        let gguf = Gguf { neighbours: true, ..Gguf::plain("llama") };
        let factors = factors(&gguf, &a).expect("stretched");
        assert_eq!((factors.len(), factors[0], factors[31]), (32, 1.0, 8.0));
        assert!(factors.windows(2).all(|pair| pair[0] <= pair[1]) && factors.iter().any(|f| (1.5..7.0).contains(f)));
    }
}
