//! One tensor in a file of `torch.save`, as far as the start of a classification head needs it.
//!
//! Such a file is a zip archive without compression: `*/data.pkl` describes the tensor, `*/data/0` holds its numbers. The
//! description is not run, only searched for the type of the numbers.

use half::{bf16, f16};

/// Signatures of the archive's end record and of an entry in its list of files.
const END: [u8; 4] = *b"PK\x05\x06";
const LISTED: [u8; 4] = *b"PK\x01\x02";

/// The numbers of the only tensor in the file, in row-major order; `None` for a file that is not of this kind.
pub(super) fn tensor(bytes: &[u8]) -> Option<Vec<f32>> {
    let numbers = entry(bytes, "/data/0")?;
    if entry(bytes, "/data/1").is_some() {
        return None;
    }
    let description = String::from_utf8_lossy(entry(bytes, "/data.pkl")?);
    let halves = || numbers.as_chunks::<2>().0.iter().map(|half| u16::from_le_bytes(*half));
    if description.contains("BFloat16Storage") {
        Some(halves().map(|bits| bf16::from_bits(bits).to_f32()).collect())
    } else if description.contains("HalfStorage") {
        Some(halves().map(|bits| f16::from_bits(bits).to_f32()).collect())
    } else if description.contains("FloatStorage") {
        Some(numbers.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect())
    } else {
        None
    }
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let digits = bytes.get(at..at.checked_add(width)?)?;
    Some(digits.iter().rev().fold(0, |number, digit| number << 8 | usize::from(*digit)))
}

/// The bytes of the entry whose name has this ending, if it is stored uncompressed.
fn entry<'a>(bytes: &'a [u8], ending: &str) -> Option<&'a [u8]> {
    // The end record is 22 bytes long, all of which must be there.
    let end = bytes.windows(22).rposition(|window| window.starts_with(&END))?;
    let (count, mut at) = (number(bytes, end + 10, 2)?, number(bytes, end + 16, 4)?);
    for _ in 0..count {
        // Also keeps the sums below within what a 32-bit machine can hold.
        if at > bytes.len() || bytes.get(at..at + 4)? != LISTED {
            return None;
        }
        let (method, len) = (number(bytes, at + 10, 2)?, number(bytes, at + 20, 4)?);
        let [name, more, comment] = [28, 30, 32].map(|place| number(bytes, at + place, 2));
        let (name, more, comment) = (name?, more?, comment?);
        let local = number(bytes, at + 42, 4)?;
        if local > bytes.len() {
            return None;
        }
        if bytes.get(at + 46..at + 46 + name)?.ends_with(ending.as_bytes()) && method == 0 {
            let start = local + 30 + number(bytes, local + 26, 2)? + number(bytes, local + 28, 2)?;
            return bytes.get(start..start.checked_add(len)?);
        }
        at += 46 + name + more + comment;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `torch.save(torch.arange(6).reshape(2, 3) / 4, "head.pt")` writes, in each type.
    const SAVED: [&[u8]; 3] = [
        include_bytes!("../../../tests/golden/torch/head-f32.pt"),
        include_bytes!("../../../tests/golden/torch/head-f16.pt"),
        include_bytes!("../../../tests/golden/torch/head-bf16.pt"),
    ];

    #[test]
    fn a_saved_tensor_is_read_in_every_type() {
        for bytes in SAVED {
            assert_eq!(tensor(bytes), Some(vec![0.0, 0.25, 0.5, 0.75, 1.0, 1.25]));
            // Cut off anywhere, it is no such file, and nothing breaks.
            assert!((0..bytes.len() - 1).step_by(7).all(|len| tensor(&bytes[..len]).is_none()));
        }
        assert_eq!(tensor(b"PK\x05\x06"), None);
    }
}
