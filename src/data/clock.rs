//! The date for chat templates (`strftime_now`), in UTC. Only the directives that templates use are known.

use std::fmt;

use web_time::{SystemTime, UNIX_EPOCH};

const SECONDS_A_DAY: i64 = 86_400;

/// A day, as the number of days since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Date(i64);

impl Date {
    /// Today; `None` where the clock is set before 1970.
    pub(crate) fn today() -> Option<Self> {
        let seconds = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
        Some(Self(seconds / SECONDS_A_DAY))
    }

    /// Reads a date such as 2024-07-26; `None` where it is none, or before 1970.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<i64> = text.split('-').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let &[year @ 1970..=9999, month @ 1..=12, day @ 1..=31] = &parts[..] else { return None };
        // What is no date, such as the 30th of February, is written otherwise.
        Some(Self(day_number(year, month, day))).filter(|date| date.to_string() == text)
    }

    /// `strftime` of the day's beginning. An unknown directive is kept as it is written.
    pub(crate) fn strftime(self, format: &str) -> String {
        strftime(self.0 * SECONDS_A_DAY, format)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
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
fn strftime(seconds: i64, format: &str) -> String {
    let (day_number, second) = (seconds.div_euclid(SECONDS_A_DAY), seconds.rem_euclid(SECONDS_A_DAY));
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

/// The day number since 1970 of a date (of the same source as [`civil`], whose inverse it is).
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let (year, month_from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
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
    fn dates_are_written_and_read() {
        for day in [0, 58, 59, 60, 365, 11_016, 19_782, 19_783, 20_000, 47_482, 2_000_000] {
            assert_eq!(Date::parse(&Date(day).to_string()), Some(Date(day)), "{}", Date(day));
        }
        assert_eq!(
            Date::parse("2024-02-29").map(|date| date.strftime("%A %-d %B %Y %T")).as_deref(),
            Some("Thursday 29 February 2024 00:00:00")
        );
        for text in ["", "2023-02-29", "2024-13-01", "2024-00-10", "1969-12-31", "24-07-26x", "2024-07", "26 Jul 2024"]
        {
            assert_eq!(Date::parse(text), None, "{text}");
        }
        assert!(Date::today().expect("a clock") > Date::parse("2024-01-01").expect("a date"));
    }

    #[test]
    fn known_dates() {
        assert_eq!(strftime(0, "%A %d %B %Y %H:%M:%S"), "Thursday 01 January 1970 00:00:00");
        assert_eq!(strftime(1_709_210_096, "%a %-d %b %Y, %F %T %I %p"), "Thu 29 Feb 2024, 2024-02-29 12:34:56 12 PM");
        assert_eq!(strftime(-1, "%Y-%m-%d %%q %q %"), "1969-12-31 %q %q %");
    }
}
