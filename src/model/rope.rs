//! Rotary position embedding: the frequencies and the tables of sines and cosines.

use burn::tensor::{Device, Tensor, TensorData};

use super::architecture::{Rope, RopeScaling};

/// Inverse frequencies of the rotated part of a head, half as many as its entries, scaled as the configuration asks (transformers' `modeling_rope_utils`).
pub fn inverse_frequencies(rope: &Rope, head_dim: usize) -> Vec<f64> {
    let rotated = rope.rotated(head_dim);
    let plain = (0..rotated / 2).map(|i| rope.theta.powf(-2.0 * i as f64 / rotated as f64));
    match rope.scaling {
        RopeScaling::Default => plain.collect(),
        RopeScaling::Linear { factor } => plain.map(|frequency| frequency / factor).collect(),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => plain
            .map(|frequency| {
                let wavelength = std::f64::consts::TAU / frequency;
                if wavelength < original_context / high_freq_factor {
                    frequency
                } else if wavelength > original_context / low_freq_factor {
                    frequency / factor
                } else {
                    let smooth =
                        (original_context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            })
            .collect(),
    }
}

/// Cosines and sines for a range of positions, each `[positions, rotated / 2]` for the rotated part of a head.
#[derive(Clone, Debug)]
pub struct RopeTables {
    /// Cosines.
    pub cos: Tensor<2>,
    /// Sines.
    pub sin: Tensor<2>,
}

impl RopeTables {
    /// Tables for positions `start .. start + count`. Angles are computed in f64: in f32 they lose digits at
    /// positions in the thousands.
    pub fn new(frequencies: &[f64], start: usize, count: usize, device: &Device) -> Self {
        let angles = || (start..start + count).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let table = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, [count, frequencies.len()]), device);
        Self {
            cos: table(angles().map(|angle| angle.cos() as f32).collect()),
            sin: table(angles().map(|angle| angle.sin() as f32).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_scaling_divides_every_frequency() {
        let rope = |scaling| Rope { theta: 10_000.0, share: 1.0, scaling };
        let plain = inverse_frequencies(&rope(RopeScaling::Default), 8);
        let scaled = inverse_frequencies(&rope(RopeScaling::Linear { factor: 4.0 }), 8);
        assert_eq!(plain[0], 1.0);
        assert!(plain.iter().zip(scaled).all(|(p, s)| (p / 4.0 - s).abs() < 1e-15));
    }

    #[test]
    fn a_part_of_a_head_has_frequencies_of_its_own_width() {
        let part = inverse_frequencies(&Rope { theta: 100.0, share: 0.25, scaling: RopeScaling::Default }, 16);
        assert_eq!(part, [1.0, 0.1]);
    }
}
