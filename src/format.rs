//! Numbers as people read them.

pub use crate::config::bytes::show as bytes;

/// `1234567` as `1,234,567`.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds as `42 s`, `3 min 07 s` or `2 h 05 min`.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A share as a percentage with sensible digits.
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent >= 10.0 { format!("{percent:.0} %") } else { format!("{percent:.2} %") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([bytes(12), bytes(1_500), bytes(45_000_000)], ["12 B", "1.5 KB", "45 MB"]);
        assert_eq!([seconds(5.4), seconds(187.0), seconds(7500.0)], ["5 s", "3 min 07 s", "2 h 05 min"]);
        assert_eq!([percent(0.01), percent(0.35)], ["1.00 %", "35 %"]);
    }
}
