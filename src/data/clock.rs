//! Today's date for chat templates (`strftime_now`), in UTC. Only the directives that templates use are known.

/// Seconds since 1970 now, or `None` where the platform has no clock (a browser's bare wasm).
pub(crate) fn now() -> Option<i64> {
    #[cfg(target_arch = "wasm32")]
    return None;
    #[cfg(not(target_arch = "wasm32"))]
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// `strftime` of a time in seconds since 1970 (UTC). An unknown directive is kept as it is written.
pub(crate) fn strftime(seconds: i64, format: &str) -> String {
    let (day_number, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(day_number);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let month_name = MONTHS[month as usize - 1];
    let day_name = DAYS[day_number.rem_euclid(7) as usize];
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let plain = chars.as_str().starts_with('-');
        if plain {
            chars.next();
        }
        let two = |number: i64| if plain { number.to_string() } else { format!("{number:02}") };
        match chars.next() {
            Some('Y') => text += &year.to_string(),
            Some('y') => text += &two(year.rem_euclid(100)),
            Some('m') => text += &two(month),
            Some('d') => text += &two(day),
            Some('e') => text += &format!("{day:2}"),
            Some('B') => text += month_name,
            Some('b' | 'h') => text += &month_name[..3],
            Some('A') => text += day_name,
            Some('a') => text += &day_name[..3],
            Some('H') => text += &two(hour),
            Some('I') => text += &two((hour + 11) % 12 + 1),
            Some('p') => text += if hour < 12 { "AM" } else { "PM" },
            Some('M') => text += &two(minute),
            Some('S') => text += &two(second % 60),
            Some('F') => text += &format!("{year}-{month:02}-{day:02}"),
            Some('T') => text += &format!("{hour:02}:{minute:02}:{:02}", second % 60),
            Some('%') => text.push('%'),
            Some(other) => text.extend(['%', other]),
            None => text.push('%'),
        }
    }
    text
}

/// Year, month and day of a day number since 1970 (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(day_number: i64) -> (i64, i64, i64) {
    let shifted = day_number + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        assert_eq!(strftime(0, "%A %d %B %Y %H:%M:%S"), "Thursday 01 January 1970 00:00:00");
        assert_eq!(strftime(1_709_210_096, "%a %-d %b %Y, %F %T %I %p"), "Thu 29 Feb 2024, 2024-02-29 12:34:56 12 PM");
        assert_eq!(strftime(-1, "%Y-%m-%d %%q %q %"), "1969-12-31 %q %q %");
    }
}
