//! Storage types of tensors: f32, f16, bf16 and the 8-bit blocks q8_0.

use half::{bf16, f16};

/// A storage type, with ggml's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// 4 bytes.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// Blocks of 32 entries: a factor in f16, then 32 signed bytes.
    Q8,
}

/// Numbers in a block of q8_0.
const BLOCK: usize = 32;

impl Encoding {
    /// ggml's number of the type.
    pub fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Bf16 => 30,
            Self::Q8 => 8,
        }
    }

    /// llama.cpp's number of a file that is mostly of this type (`general.file_type`).
    pub fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Bf16 => 32,
            Self::Q8 => 7,
        }
    }

    /// How many numbers are stored together; rows must be a multiple of it.
    pub fn block(self) -> usize {
        if self == Self::Q8 { BLOCK } else { 1 }
    }

    /// Bytes of `count` numbers.
    pub fn bytes(self, count: usize) -> u64 {
        let count = count as u64;
        match self {
            Self::F32 => 4 * count,
            Self::F16 | Self::Bf16 => 2 * count,
            Self::Q8 => count / BLOCK as u64 * (2 + BLOCK as u64),
        }
    }
}

/// Little-endian bytes of `values`; for q8_0 their number is a multiple of 32.
pub fn encode(values: &[f32], encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Encoding::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        Encoding::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        Encoding::Q8 => values.chunks(BLOCK).flat_map(block).collect(),
    }
}

/// One block of q8_0: the factor is the largest magnitude / 127; numbers are rounded half away from zero.
fn block(values: &[f32]) -> [u8; 2 + BLOCK] {
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let factor = largest / 127.0;
    let inverse = if factor > 0.0 { 1.0 / factor } else { 0.0 };
    let mut bytes = [0; 2 + BLOCK];
    bytes[..2].copy_from_slice(&f16::from_f32(factor).to_le_bytes());
    for (byte, value) in bytes[2..].iter_mut().zip(values) {
        *byte = (value * inverse).round() as i8 as u8;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_numbers_to_half_a_step() {
        let values: Vec<f32> =
            (0..64).map(|at| ((at * 37 % 64) as f32 - 31.5) * if at < 32 { 0.01 } else { 4.0 }).collect();
        let bytes = encode(&values, Encoding::Q8);
        assert_eq!(bytes.len() as u64, Encoding::Q8.bytes(64));
        for (block, values) in bytes.chunks(34).zip(values.chunks(32)) {
            let factor = f16::from_le_bytes([block[0], block[1]]).to_f32();
            for (byte, value) in block[2..].iter().zip(values) {
                let back = factor * f32::from(*byte as i8);
                assert!((back - value).abs() <= 0.51 * factor + 0.001 * value.abs(), "{back} for {value}");
            }
            assert!(block[2..].iter().any(|byte| (*byte as i8).unsigned_abs() == 127));
        }
        assert_eq!(encode(&[0.0; 32], Encoding::Q8), [0; 34]);
    }
}
