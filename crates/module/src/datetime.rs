//! Reading a moment (XEP-0082 section 3.2).

use crate::Now;

/// None: it is not of the DateTime profile. What is finer than a millisecond is left out.
pub(crate) fn parse(text: &str) -> Option<Now> {
    let (date, time) = text.split_once('T')?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (time, offset) = zone(time)?;
    let (time, fraction) = match time.split_once('.') {
        Some((time, fraction)) => (time, Some(fraction)),
        None => (time, None),
    };
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let millis = match fraction {
        Some(fraction) => fraction_of(fraction)?,
        None => 0,
    };
    let is_time = hour <= 23 && minute <= 59 && second <= 59;
    if !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) || !is_time {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    Some(Now(seconds * 1_000 + millis))
}

/// Numbers of just so many digits, with this between them.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(between);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits && is_digits(part))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Splits the time zone off, which must be there: its distance from UTC in seconds.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let (time, zone) = time.split_at_checked(time.find(['+', '-'])?)?;
    let [hours, minutes] = numbers(&zone[1..], ':', [2, 2])?;
    let offset = (hours <= 23 && minutes <= 59).then_some(hours * 3_600 + minutes * 60)?;
    Some((time, if zone.starts_with('-') { -offset } else { offset }))
}

/// Milliseconds of a fraction of a second with any number of digits.
fn fraction_of(digits: &str) -> Option<i64> {
    if !is_digits(digits) {
        return None;
    }
    let three = digits.bytes().chain(std::iter::repeat(b'0')).take(3);
    Some(three.fold(0, |millis, digit| millis * 10 + i64::from(digit - b'0')))
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar. Years are counted from March, so that the leap day is the last of
/// its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        let check = |text: &str, millis: i64| assert_eq!(parse(text), Some(Now(millis)), "{text}");
        check("1970-01-01T00:00:00Z", 0);
        check("1969-07-21T02:56:15Z", -14_159_025_000);
        check("1969-07-20T21:56:15-05:00", -14_159_025_000);
        check("2026-11-24T13:44:36.120+05:30", 1_795_508_076_120);
        check("2010-06-07T00:00:00.1Z", 1_275_868_800_100);
        check("2010-06-07T00:00:00.123456789Z", 1_275_868_800_123);
        check("2024-02-29T23:59:59.999Z", 1_709_251_199_999);
    }

    #[test]
    fn what_is_written_is_read() {
        // Some of every kind of year, at every hour.
        for step in -30_000..40_000_i64 {
            let now = Now(step * 86_413_377);
            assert_eq!(parse(&now.stamp()), Some(now));
        }
    }

    #[test]
    fn what_is_no_moment() {
        for text in [
            "",
            "T",
            "2010-06-07",
            "2010-06-07T00:00:00",
            "2010-06-07 00:00:00Z",
            "20100607T00:00:00Z",
            "2010-6-07T00:00:00Z",
            "10-06-07T00:00:00Z",
            "2010-13-07T00:00:00Z",
            "2010-00-07T00:00:00Z",
            "2010-06-31T00:00:00Z",
            "2010-06-00T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2010-06-07T24:00:00Z",
            "2010-06-07T00:60:00Z",
            "2010-06-07T00:00:60Z",
            "2010-06-07T00:00Z",
            "2010-06-07T00:00:00.Z",
            "2010-06-07T00:00:00.1x3Z",
            "2010-06-07T00:00:00+0100",
            "2010-06-07T00:00:00+24:00",
            "2010-06-07T00:00:00+é0:00",
            "+010-06-07T00:00:00Z",
            "2010-06-07T00:00:00ZZ",
            " 2010-06-07T00:00:00Z",
            "now",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
