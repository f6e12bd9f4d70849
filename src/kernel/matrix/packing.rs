//! How the numbers of a packed matrix lie in 32-bit words, in plain Rust: what is uploaded, and the twin of what the
//! shaders read.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// Numbers that share a scale, neighbours in a row.
pub const GROUP: usize = 32;

/// Words are uploaded in multiples of this many, because shaders read up to four at once.
const WORDS: usize = 4;

/// How the numbers of a packed matrix are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// bfloat16, two to a word, low half first, as they lie in a checkpoint.
    Bf16,
    /// IEEE half precision, likewise.
    F16,
    /// Signed bytes, four to a word, low first, times a scale in f16 for each group of 32: the largest magnitude of the
    /// group / 127.
    Q8,
    /// Signed halves of bytes, eight to a word, low first, times such a scale: the largest magnitude / 7.
    Q4,
}

impl Packing {
    /// Bits of a number, without its share of a scale.
    pub const fn bits(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 16,
            Self::Q8 => 8,
            Self::Q4 => 4,
        }
    }

    /// Whether groups have scales.
    pub const fn quantized(self) -> bool {
        matches!(self, Self::Q8 | Self::Q4)
    }

    /// Whether a matrix with rows of `cols` numbers can be stored so: groups do not go over the end of a row.
    pub const fn fits(self, cols: usize) -> bool {
        !self.quantized() || cols.is_multiple_of(GROUP)
    }

    /// Words of `count` numbers without scales; the scales follow.
    pub(super) const fn number_words(self, count: usize) -> usize {
        count.div_ceil(32 / self.bits()).next_multiple_of(WORDS)
    }

    /// Words of `count` numbers with their scales, two to a word.
    pub const fn words(self, count: usize) -> usize {
        let scales = if self.quantized() { (count / GROUP).div_ceil(2).next_multiple_of(WORDS) } else { 0 };
        self.number_words(count) + scales
    }

    /// `value` as a 16-bit number of this type, rounded to the nearest, ties to even; as it is where numbers have fewer
    /// bits.
    pub fn round(self, value: f32) -> f32 {
        if self.quantized() { value } else { self.half_value(self.half_bits(value)) }
    }

    /// Bits of the nearest 16-bit number of this type.
    pub(super) fn half_bits(self, value: f32) -> u16 {
        if self == Self::Bf16 { bf16::from_f32(value).to_bits() } else { f16::from_f32(value).to_bits() }
    }

    fn half_value(self, bits: u16) -> f32 {
        if self == Self::Bf16 { bf16::from_bits(bits).to_f32() } else { f16::from_bits(bits).to_f32() }
    }

    /// Little-endian bytes of 16-bit numbers as words.
    pub(super) fn words_of_bytes(self, bytes: &[u8]) -> Vec<u32> {
        let mut words: Vec<u32> = bytes.chunks(4).map(word).collect();
        words.resize(self.words(bytes.len() / 2), 0);
        words
    }

    /// Words of `values`, which are whole groups where they are quantized.
    pub(super) fn encode(self, values: &[f32]) -> Vec<u32> {
        if !self.quantized() {
            let bytes: Vec<u8> = values.iter().flat_map(|value| self.half_bits(*value).to_le_bytes()).collect();
            return self.words_of_bytes(&bytes);
        }
        let most = self.largest();
        let mut all = vec![0u32; self.words(values.len())];
        let (words, scales) = all.split_at_mut(self.number_words(values.len()));
        let per_word = 32 / self.bits();
        for (group, values) in values.chunks(GROUP).enumerate() {
            let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            let scale = f16::from_f32(largest / most);
            scales[group / 2] |= u32::from(scale.to_bits()) << (16 * (group % 2));
            // Numbers are rounded by the scale as it is stored.
            let inverse = if scale > f16::ZERO { scale.to_f32().recip() } else { 0.0 };
            for (at, value) in values.iter().enumerate() {
                let number = (value * inverse).round().clamp(-most, most) as i32 as u32;
                let (place, mask) = (group * GROUP + at, (1u64 << self.bits()) - 1);
                words[place / per_word] |= (number & mask as u32) << (self.bits() * (place % per_word));
            }
        }
        all
    }

    /// `values` as they come back from being stored so; in whole groups where they are quantized.
    pub fn rounded(self, values: &[f32]) -> Vec<f32> {
        self.decode(&self.encode(values), values.len())
    }

    /// The number of the largest magnitude.
    const fn largest(self) -> f32 {
        if matches!(self, Self::Q8) { 127.0 } else { 7.0 }
    }

    /// All `count` numbers.
    pub(super) fn decode(self, words: &[u32], count: usize) -> Vec<f32> {
        let (words, scales) = words.split_at(self.number_words(count));
        let bits = self.bits();
        let per_word = 32 / bits;
        let number = |at: usize| {
            let word = words[at / per_word];
            let shift = bits * (at % per_word);
            if !self.quantized() {
                return self.half_value((word >> shift) as u16);
            }
            let signed = ((word << (32 - bits - shift)) as i32) >> (32 - bits);
            let group = at / GROUP;
            let scale = f16::from_bits((scales[group / 2] >> (16 * (group % 2))) as u16);
            signed as f32 * scale.to_f32()
        };
        (0..count).map(number).collect()
    }
}

fn word(bytes: &[u8]) -> u32 {
    let mut four = [0; 4];
    four[..bytes.len()].copy_from_slice(bytes);
    u32::from_le_bytes(four)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_come_back_as_they_were() {
        let values = [1.5f32, -0.25, 3.0, 1e-3, -7.0];
        for packing in [Packing::Bf16, Packing::F16] {
            let rounded: Vec<f32> = values.iter().map(|value| packing.round(*value)).collect();
            let words = packing.encode(&values);
            assert_eq!(words.len(), 4);
            assert_eq!(packing.decode(&words, 5), rounded);
        }
    }

    #[test]
    fn quantized_numbers_are_within_half_a_step() {
        let values: Vec<f32> = (0..96).map(|at| ((at * 37 % 96) as f32 - 47.0) * [0.01, 3.0, 0.0][at / 32]).collect();
        for packing in [Packing::Q8, Packing::Q4] {
            let words = packing.encode(&values);
            assert_eq!(words.len(), packing.words(96));
            let back = packing.decode(&words, 96);
            for (group, (back, values)) in back.chunks(GROUP).zip(values.chunks(GROUP)).enumerate() {
                let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                let step = largest / packing.largest();
                let worst = back.iter().zip(values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst <= 0.51 * step, "{packing:?} group {group}: {worst} of {step}");
                assert!(back.iter().any(|value| (value.abs() - largest).abs() <= 1e-3 * largest));
            }
        }
    }
}
