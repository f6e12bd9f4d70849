//! One tensor in a file of `torch.save`, as far as the start of a classification head needs it.
//!
//! Such a file is a zip archive without compression: `*/data.pkl` describes the tensor, `*/data/0` holds its numbers. The
//! description is not run, only searched for the type of the numbers. Written is the same, for `torch.load` to read.

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

/// The bytes of a file that `torch.load` gives back as a matrix `[rows, columns]` of f32 in row-major order.
pub(super) fn matrix(values: &[f32], [rows, columns]: [usize; 2]) -> Vec<u8> {
    let numbers: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    archive(&[
        ("tensor/data.pkl", &description(rows, columns)),
        ("tensor/byteorder", b"little"),
        ("tensor/data/0", &numbers),
        ("tensor/version", b"3\n"),
    ])
}

/// The pickle of a contiguous matrix: `torch._utils._rebuild_tensor_v2(storage 0, 0, (rows, columns), (columns, 1), ...)`.
fn description(rows: usize, columns: usize) -> Vec<u8> {
    // BININT, which holds any size that a tensor of this format can have.
    let integer = |number: usize| [&b"J"[..], &(number as u32).to_le_bytes()].concat();
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    [
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        integer(rows * columns),
        // The persistent storage, its offset, the shape, the strides, and that it needs no gradient and has no hooks.
        b"tQK\x00".to_vec(),
        integer(rows),
        integer(columns),
        b"\x86".to_vec(),
        integer(columns),
        b"K\x01\x86\x89ccollections\nOrderedDict\n)RtR.".to_vec(),
    ]
    .concat()
}

/// A zip archive of uncompressed entries, whose contents begin at multiples of 64 as PyTorch maps them.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut list) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let start = file.len();
        let size = content.len() as u32;
        // Version 2.0, no flags, stored, at the beginning of 1980; then what both records have in common.
        let mut common = [20u16, 0, 0, 0, 0x21].map(u16::to_le_bytes).concat();
        common.extend([crc32fast::hash(content), size, size].map(u32::to_le_bytes).concat());
        common.extend((name.len() as u16).to_le_bytes());
        // Padding is an extra field of a kind that readers skip: two bytes of kind, two of length, zeros.
        let padding = (start + 30 + name.len() + 4).next_multiple_of(64) - (start + 30 + name.len() + 4);
        file.extend(b"PK\x03\x04");
        file.extend(&common);
        file.extend((padding as u16 + 4).to_le_bytes());
        file.extend(name.as_bytes());
        file.extend([*b"FB", (padding as u16).to_le_bytes()].concat());
        file.resize(file.len() + padding, 0);
        file.extend(*content);
        list.extend(LISTED);
        list.extend(20u16.to_le_bytes());
        list.extend(common);
        // No extra field, comment, second disk or attributes; then where the entry begins.
        list.extend([0u8; 12]);
        list.extend((start as u32).to_le_bytes());
        list.extend(name.as_bytes());
    }
    let (count, size, start) = (entries.len() as u16, list.len() as u32, file.len() as u32);
    file.extend(list);
    file.extend(END);
    file.extend([0, 0, count, count].map(u16::to_le_bytes).concat());
    file.extend([size, start].map(u32::to_le_bytes).concat());
    file.extend([0u8; 2]);
    file
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

    #[test]
    fn what_is_written_is_what_pytorch_writes_for_the_same_matrix() {
        let values = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25];
        let file = matrix(&values, [2, 3]);
        assert_eq!(tensor(&file), Some(values.to_vec()));
        let of = |file: &'static [u8], ending| entry(file, ending).map(<[u8]>::to_vec);
        for ending in ["/data/0", "/byteorder", "/version"] {
            assert_eq!(entry(&file, ending).map(<[u8]>::to_vec), of(SAVED[0], ending), "{ending}");
        }
        // Without the marks that PyTorch sets for itself, and with numbers of one width.
        let opcodes = |pickle: &[u8]| String::from_utf8_lossy(pickle).matches("_rebuild_tensor_v2").count();
        assert_eq!(entry(&file, "/data.pkl").map(opcodes), Some(1));
        for entry in 0..4 {
            let start =
                (0..file.len() - 4).filter(|&at| file[at..].starts_with(b"PK\x03\x04")).nth(entry).expect("an entry");
            let content = start
                + 30
                + number(&file, start + 26, 2).expect("a name")
                + number(&file, start + 28, 2).expect("extra");
            assert_eq!(content % 64, 0);
        }
    }
}
