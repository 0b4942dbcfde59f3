//! What zkCli prints of a znode: its Stat, its data in hexadecimal. Source: `cli.StatPrinter`, Netty's `prettyHexDump`.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use zookeeper_client::Stat;

/// The Stat, one line a field.
pub fn lines(stat: &Stat, zone: &TimeZone) -> String {
    format!(
        "cZxid = 0x{:x}\nctime = {}\nmZxid = 0x{:x}\nmtime = {}\npZxid = 0x{:x}\ncversion = {}\ndataVersion = {}\n\
         aclVersion = {}\nephemeralOwner = 0x{:x}\ndataLength = {}\nnumChildren = {}\n",
        stat.czxid,
        java_date(stat.ctime, zone),
        stat.mzxid,
        java_date(stat.mtime, zone),
        stat.pzxid,
        stat.cversion,
        stat.version,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children,
    )
}

/// The Stat for programs: 64-bit ids in hexadecimal, since many readers of JSON round such numbers; times in ms since
/// 1970.
pub fn json(stat: &Stat) -> Value {
    json!({
        "cZxid": format!("0x{:x}", stat.czxid),
        "ctime": stat.ctime,
        "mZxid": format!("0x{:x}", stat.mzxid),
        "mtime": stat.mtime,
        "pZxid": format!("0x{:x}", stat.pzxid),
        "cversion": stat.cversion,
        "dataVersion": stat.version,
        "aclVersion": stat.aversion,
        "ephemeralOwner": format!("0x{:x}", stat.ephemeral_owner),
        "dataLength": stat.data_length,
        "numChildren": stat.num_children,
    })
}

/// A time as Java's `Date.toString` writes it: `Sat Jul 28 08:14:09 UTC 2018`. A time that no calendar has, as a number.
pub fn java_date(ms: i64, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%a %b %d %H:%M:%S %Z %Y").to_string(),
        Err(_) => format!("{ms} ms"),
    }
}

/// Data as a table of hexadecimal bytes, 16 a row; nothing for no data.
pub fn hex_dump(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let line = "+--------+-------------------------------------------------+----------------+";
    let mut text = format!(
        "{:9}+-------------------------------------------------+\n{:9}|  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n{line}",
        "", ""
    );
    for (row, bytes) in data.chunks(16).enumerate() {
        let hex: String = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, " {byte:02x}");
            hex
        });
        let letters: String =
            bytes.iter().map(|it| if (0x20..0x7f).contains(it) { char::from(*it) } else { '.' }).collect();
        let _ = write!(text, "\n|{:08x}|{hex:<49}|{letters:<16}|", row * 16);
    }
    let _ = write!(text, "\n{line}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_java_writes_them() {
        let zone = |name: &str| TimeZone::get(name).unwrap();
        assert_eq!(java_date(1532765649000, &TimeZone::UTC), "Sat Jul 28 08:14:09 UTC 2018");
        assert_eq!(java_date(0, &TimeZone::UTC), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(java_date(1532765649000, &zone("Europe/Berlin")), "Sat Jul 28 10:14:09 CEST 2018");
        assert_eq!(java_date(1532765649000, &zone("Asia/Shanghai")), "Sat Jul 28 16:14:09 CST 2018");
        assert_eq!(java_date(i64::MAX, &TimeZone::UTC), "9223372036854775807 ms");
    }

    #[test]
    fn a_dump() {
        let expected = "         +-------------------------------------------------+\n\
                        \u{20}        |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n\
                        +--------+-------------------------------------------------+----------------+\n\
                        |00000000| 68 65 6c 6c 6f 20 00 7f ff                      |hello ...       |\n\
                        +--------+-------------------------------------------------+----------------+";
        assert_eq!(hex_dump(b"hello \0\x7f\xff"), expected);
        assert_eq!(hex_dump(&[0; 17]).lines().count(), 6);
        assert_eq!(hex_dump(b""), "");
    }
}
