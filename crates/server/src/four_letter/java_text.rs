//! Numbers, dates and addresses as Java prints them.

use std::net::SocketAddr;

use auth::host_address;

/// `Double.toString`: at least one decimal; below 0.001 and from ten million on with an exponent.
pub fn java_double(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    let sign = if number.is_sign_negative() { "-" } else { "" };
    let magnitude = number.abs();
    if magnitude.is_infinite() {
        return format!("{sign}Infinity");
    }
    if magnitude == 0.0 {
        return format!("{sign}0.0");
    }
    if (1e-3..1e7).contains(&magnitude) {
        let text = format!("{magnitude}");
        return if text.contains('.') { format!("{sign}{text}") } else { format!("{sign}{text}.0") };
    }
    let text = format!("{magnitude:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{sign}{digits}{point}E{exponent}")
}

/// An average as Apache keeps it: rounded half up to four decimals; 0 without values.
///
/// Source: `AvgMinMaxCounter.getAvg`, which rounds the exact value of the double.
pub fn average(total: i64, count: i64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    let average = total as f64 / count as f64;
    // 80 decimals are exact for every double that does not round to zero here.
    let exact = format!("{:.80}", average.abs());
    let digits: String = exact.chars().filter(char::is_ascii_digit).collect();
    let kept = digits.len() - 80 + 4;
    let Ok(ten_thousandths) = digits[..kept].parse::<u64>() else { return average };
    let up = u64::from(digits.as_bytes()[kept] >= b'5');
    let rounded = (ten_thousandths + up) as f64 / 10_000.0;
    if average < 0.0 { -rounded } else { rounded }
}

/// The offset from UTC in seconds, and the name, that a time zone has at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneMoment {
    /// East is positive.
    pub offset_s: i32,
    /// Like `UTC` or `CEST`.
    pub name: String,
}

/// `Date.toString`: `Tue Nov 14 22:13:20 UTC 2023`. Milliseconds since 1970.
pub fn java_date(ms: i64, zone: &ZoneMoment) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = ms.div_euclid(1000).saturating_add(i64::from(zone.offset_s));
    let days = seconds.div_euclid(86_400);
    let second = seconds.rem_euclid(86_400);
    let (year, month, day) = civil_from_days(days);
    let weekday = DAYS[days.rem_euclid(7) as usize];
    let name = MONTHS[(month - 1) as usize];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday} {name} {day:02} {hour:02}:{minute:02}:{second:02} {} {year}", zone.name)
}

/// Year, month (1 to 12) and day of a day counted from 1970-01-01. The years begin in March, so that the leap day is
/// the last day of a year, and a cycle of the calendar has 146,097 days.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let cycle = shifted.div_euclid(146_097);
    let day_of_cycle = shifted.rem_euclid(146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}

/// `/10.0.0.7:53112`; IPv6 in full and without brackets.
pub fn socket_address(address: SocketAddr) -> String {
    format!("/{}:{}", host_address(address.ip()), address.port())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::float_cmp)]
    use super::*;

    #[test]
    fn doubles() {
        for (number, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (1.3333, "1.3333"),
            (-2.5, "-2.5"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (0.00012, "1.2E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (17_297_301.0, "1.7297301E7"),
            (-1e21, "-1.0E21"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (-0.0, "-0.0"),
        ] {
            assert_eq!(java_double(number), text);
        }
    }

    #[test]
    fn averages_round_half_up() {
        for (total, count, rounded) in [
            (0, 0, 0.0),
            (7, 0, 0.0),
            (4, 3, 1.3333),
            (5, 3, 1.6667),
            (3, 7, 0.4286),
            (1, 32, 0.0313), // exactly 0.03125
            (3, 32, 0.0938), // exactly 0.09375
            (1, 1_000_000, 0.0),
            (1, 20_000, 0.0001), // 0.00005 is a little more than that as a double
            (-1, 32, -0.0313),
            (i64::MAX, 1, 9_223_372_036_854_775_807.0),
        ] {
            assert_eq!(average(total, count), rounded, "{total}/{count}");
        }
    }

    fn utc() -> ZoneMoment {
        ZoneMoment { offset_s: 0, name: "UTC".to_owned() }
    }

    #[test]
    fn dates() {
        for (ms, text) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (1_699_999_999_999, "Tue Nov 14 22:13:19 UTC 2023"),
            (951_782_400_000, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_532_765_649_000, "Sat Jul 28 08:14:09 UTC 2018"),
            (-1, "Wed Dec 31 23:59:59 UTC 1969"),
        ] {
            assert_eq!(java_date(ms, &utc()), text);
        }
        let berlin = ZoneMoment { offset_s: 7200, name: "CEST".to_owned() };
        assert_eq!(java_date(1_532_822_400_000, &berlin), "Sun Jul 29 02:00:00 CEST 2018");
        let new_york = ZoneMoment { offset_s: -18_000, name: "EST".to_owned() };
        assert_eq!(java_date(0, &new_york), "Wed Dec 31 19:00:00 EST 1969");
    }

    #[test]
    fn addresses() {
        assert_eq!(socket_address("10.0.0.7:53112".parse().unwrap()), "/10.0.0.7:53112");
        assert_eq!(socket_address("[::1]:2181".parse().unwrap()), "/0:0:0:0:0:0:0:1:2181");
    }
}
