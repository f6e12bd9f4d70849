//! Amounts of memory as people write and read them.

/// Factors of the units; those with an i count in powers of two.
const UNITS: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];

/// Reads `6GB`, `1.5 GiB`, `800 MB`: a number and a unit (B, KB, MB, GB, TB or KiB, MiB, GiB, TiB; in any case).
///
/// # Errors
/// Another text, as a rule that it breaks.
pub fn parse(text: &str) -> Result<u64, String> {
    let wanted = || "write a number and a unit, such as 6GB or 512 MiB".to_owned();
    let lower = text.trim().to_lowercase();
    let (number, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| lower.strip_suffix(unit).map(|number| (number, *factor)))
        .ok_or_else(wanted)?;
    let number: f64 = number.trim().parse().map_err(|_| wanted())?;
    let bytes = number * factor as f64;
    // Above this a machine's memory is a typing error, and below it no model fits.
    if !(1.0..1e15).contains(&bytes) {
        return Err("it must be at least one byte and below 1000 TB".into());
    }
    Ok(bytes as u64)
}

/// Bytes in the unit that leaves three digits.
pub fn show(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KB", "MB", "GB"] {
        if value < 999.5 {
            return if unit == "B" {
                format!("{bytes} B")
            } else {
                format!("{value:.*} {unit}", usize::from(value < 9.95))
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_with_their_units() {
        let read = [("6GB", 6_000_000_000), ("1.5 GiB", 3 << 29), ("800 mb", 800_000_000), ("12b", 12)];
        for (text, bytes) in read {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["6", "GB", "-1GB", "six GB", "0GB", "9e9TB", "nanGB", "1 PB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_read_well() {
        assert_eq!([show(12), show(1_500), show(45_000_000)], ["12 B", "1.5 KB", "45 MB"]);
    }
}
