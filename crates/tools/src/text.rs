//! Times, data, ids and paths as people and scripts read them.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use wire::AclVec;

/// Milliseconds since 1970 as `2026-01-31T12:00:00.000Z`; a number that no calendar has, as the number.
pub fn time(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => ms.to_string(),
    }
}

/// What an operator types for a time: `2026-01-31T12:00:00Z` or with an offset, or milliseconds since 1970.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let parsed = text.parse::<Timestamp>().map(Timestamp::as_millisecond);
    parsed.map_err(|_| "write 2026-01-31T12:00:00Z, 2026-01-31T12:00:00+01:00, or milliseconds since 1970".to_owned())
}

/// A zxid or a session id, in hexadecimal with or without `0x`.
pub fn parse_hex(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let parsed = u64::from_str_radix(digits, 16).map(u64::cast_signed);
    parsed.map_err(|_| "write a hexadecimal number, as 0x10000002a".to_owned())
}

/// Data in one line: text as it is, with control characters escaped, other bytes in base64; at most `max` characters.
pub fn data(data: Option<&[u8]>, max: usize) -> String {
    let Some(data) = data else { return "null".to_owned() };
    let mut shown = match str::from_utf8(data) {
        Ok(text) => format!("{:?}", text.chars().take(max + 1).collect::<String>()),
        Err(_) => format!("base64:{}", STANDARD.encode(&data[..data.len().min(max)])),
    };
    if shown.chars().count() > max {
        shown = shown.chars().take(max.saturating_sub(1)).chain(['…']).collect();
    }
    shown
}

/// Data for scripts: `data` with the text, or `data_base64`; null stays null.
pub fn data_json(into: &mut serde_json::Map<String, Value>, data: Option<&[u8]>) {
    match data.map(|bytes| (bytes, str::from_utf8(bytes))) {
        None => into.insert("data".to_owned(), Value::Null),
        Some((_, Ok(text))) => into.insert("data".to_owned(), json!(text)),
        Some((bytes, Err(_))) => into.insert("data_base64".to_owned(), json!(STANDARD.encode(bytes))),
    };
}

/// The permissions as zkCli writes them.
pub fn perms(perms: i32) -> String {
    let letters = [(4, 'c'), (8, 'd'), (1, 'r'), (2, 'w'), (16, 'a')];
    letters.into_iter().filter(|(bit, _)| perms & bit != 0).map(|(_, letter)| letter).collect()
}

/// A list as zkCli takes it: `world:anyone:cdrwa`.
pub fn acl(acl: AclVec<'_>) -> String {
    let mut text = String::new();
    for entry in acl.decode().unwrap_or_default() {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{}:{}:{}", entry.id.scheme, entry.id.id, perms(entry.perms));
    }
    escaped(&text)
}

/// A path or another text of a client's, in one line whatever it holds.
pub fn escaped(text: &str) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text.to_owned() }
}

/// A number of bytes for people.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `text` and as many blanks as make it `width` columns wide on a terminal.
pub fn pad(text: &str, width: usize) -> String {
    let blanks = width.saturating_sub(unicode_width::UnicodeWidthStr::width(text));
    format!("{text}{}", " ".repeat(blanks))
}

/// A table whose columns line up: the first row is the heading, columns of numbers are right-aligned.
pub fn table(rows: &[Vec<String>], right: &[bool]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| unicode_width::UnicodeWidthStr::width(cell.as_str())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padded = pad(cell, widths[column]);
            let blanks = padded.len() - cell.len();
            if right.get(column).copied().unwrap_or(false) {
                line.push_str(&" ".repeat(blanks));
                line.push_str(cell);
            } else {
                line.push_str(&padded);
            }
            line.push_str("  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_there_and_back() {
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(parse_time("2023-11-14T22:13:20.123Z"), Ok(1_700_000_000_123));
        assert_eq!(parse_time("2023-11-14T23:13:20+01:00"), Ok(1_700_000_000_000));
        assert_eq!(parse_time("5"), Ok(5));
        assert!(parse_time("yesterday").is_err());
        assert_eq!(time(i64::MAX), i64::MAX.to_string());
    }

    #[test]
    fn ids() {
        assert_eq!(parse_hex("0x1F"), Ok(31));
        assert_eq!(parse_hex("ffffffffffffffff"), Ok(-1));
        assert!(parse_hex("-1").is_err() && parse_hex("").is_err());
    }

    #[test]
    fn data_in_one_line() {
        assert_eq!(data(None, 9), "null");
        assert_eq!(data(Some(b"a\nb"), 9), "\"a\\nb\"");
        assert_eq!(data(Some(&[0xff, 0]), 40), "base64:/wA=");
        assert_eq!(data(Some(&[b'x'; 100]), 5), "\"xxx…");
    }

    #[test]
    fn columns_line_up_with_wide_letters() {
        let rows = vec![vec!["路径".to_owned(), "1".to_owned()], vec!["abcdef".to_owned(), "23".to_owned()]];
        assert_eq!(table(&rows, &[false, true]), "路径     1\nabcdef  23\n");
    }
}
