//! Rotary positions: Hugging Face rotates the halves of a head, llama.cpp's Llama rotates neighbours.

use serde_json::Value;

use super::names::Family;
use crate::{
    Result,
    model::architecture::{Fields, RopeScaling},
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

/// The divisors `[head width / 2]` of the rotary frequencies that Llama 3.1 stretches; `None` without that scaling.
pub(super) fn factors(family: Family, config: &Value) -> Result<Option<Vec<f32>>> {
    if family != Family::Llama {
        return Ok(None);
    }
    let fields = Fields { json: config };
    let rope = fields.rope()?;
    let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } = rope.scaling else {
        return Ok(None);
    };
    let head = fields.size_or("head_dim", Some(fields.size("hidden_size")? / fields.size("num_attention_heads")?))?;
    let divisor = |pair: usize| {
        let wavelength = std::f64::consts::TAU * rope.theta.powf(2.0 * pair as f64 / head as f64);
        let place = (original_context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
        // Low frequencies are divided, high ones kept, with a ramp between.
        let kept = place.clamp(0.0, 1.0);
        (1.0 / ((1.0 - kept) / factor + kept)) as f32
    };
    Ok(Some((0..head / 2).map(divisor).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_neighbours() {
        let rows: Vec<f32> = (0..8).map(|row| row as f32).collect();
        assert_eq!(interleaved(&rows, &[8], 2), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        let matrix: Vec<f32> = (0..8).map(|at| at as f32).collect();
        assert_eq!(interleaved(&matrix, &[4, 2], 1), [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
    }

    #[test]
    fn stretched_frequencies_have_three_parts() {
        let config = serde_json::json!({"hidden_size": 64, "num_attention_heads": 1, "rope_parameters": {
            "rope_theta": 10000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 128}});
        let factors = factors(Family::Llama, &config).expect("good").expect("stretched");
        assert_eq!((factors.len(), factors[0], factors[31]), (32, 1.0, 8.0));
        assert!(factors.windows(2).all(|pair| pair[0] <= pair[1]) && factors.iter().any(|f| (1.5..7.0).contains(f)));
    }
}
