//! Times for people, as the log writes them.

const DAY_S: u64 = 24 * 60 * 60;
/// Days of 400 years: after so many the calendar repeats itself.
const DAYS_OF_400_YEARS: u64 = 146_097;
/// From 1 March 0000 to 1 January 1970. A year that begins in March has its leap day at the end.
const DAYS_TO_1970: u64 = 719_468;

/// A Unix time, to the second.
pub(crate) fn utc(time_ms: u64) -> String {
    let seconds = time_ms / 1000;
    let (year, month, day) = date(seconds / DAY_S);
    let second = seconds % DAY_S;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day after 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_1970;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    // Leap days before this one: every fourth year, but of the hundreds only the fourth.
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 153 days in each five of them.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_796_033_843, "2026-11-30T10:17:23Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds * 1000 + 999), text);
        }
    }

    #[test]
    fn no_day_is_left_out() {
        let mut before = date(0);
        for day in 1..200_000 {
            let (year, month, day) = date(day);
            let is_next = match before {
                before if day > 1 => before == (year, month, day - 1),
                (before_year, 12, 31) => (before_year + 1, 1) == (year, month),
                (before_year, before_month, 28..=31) => {
                    (before_year, before_month + 1) == (year, month)
                }
                _ => false,
            };
            assert!(is_next, "{before:?} {year} {month} {day}");
            before = (year, month, day);
        }
    }
}
