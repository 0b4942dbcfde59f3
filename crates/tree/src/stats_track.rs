//! The text of quotas: limits as clients write them, usage as the tree writes it. Source: Apache `StatsTrack`.
//!
//! `count=<n>,bytes=<n>`, and where there are more keys `=;<key>=<n>;<key>=<n>`. The spare `=` makes clients of 3.4 stop
//! there. A number that is missing is -1: no limit.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A text longer than this is not taken for one of a quota: it would be parsed and written anew with every change.
const TEXT_MAX: usize = 4096;

/// Limits, or usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsTrack {
    /// Znodes: the soft limit, or how many there are.
    pub count: i64,
    /// Bytes of data: the soft limit, or how many there are.
    pub bytes: i64,
    /// Znodes: the hard limit.
    pub count_hard: i64,
    /// Bytes of data: the hard limit.
    pub bytes_hard: i64,
    /// What the text says behind `bytes`: all other keys.
    rest: Box<str>,
}

impl Default for StatsTrack {
    fn default() -> Self {
        Self { count: -1, bytes: -1, count_hard: -1, bytes_hard: -1, rest: "".into() }
    }
}

impl StatsTrack {
    /// Usage.
    pub fn of_usage(count: i64, bytes: i64) -> Self {
        Self { count, bytes, ..Self::default() }
    }

    /// What the text says. `None` where Apache throws: no data, a key without a number, a number that is none.
    pub fn parse(data: Option<&[u8]>) -> Option<Self> {
        let data = data.filter(|data| data.len() <= TEXT_MAX)?;
        let text = String::from_utf8_lossy(data);
        let mut numbers: BTreeMap<&str, i64> = BTreeMap::new();
        // Java's split: separators in a row are one, and what is empty at the end is dropped, but not at the front.
        let text = text.trim_end_matches([',', ';']);
        let pairs = (!text.is_empty()).then(|| text.split([',', ';']).enumerate().filter_map(inner));
        for pair in pairs.into_iter().flatten() {
            let mut parts = pair.trim_end_matches('=').split('=');
            let (key, value) = (parts.next()?, parts.next()?);
            numbers.insert(key, if value.is_empty() { -1 } else { value.parse().ok()? });
        }
        let mut take = |key: &str| numbers.remove(key).unwrap_or(-1);
        let (count, bytes) = (take("count"), take("bytes"));
        let get = |key: &str| numbers.get(key).copied().unwrap_or(-1);
        let (count_hard, bytes_hard) = (get("countHardLimit"), get("byteHardLimit"));
        let mut keys: Vec<_> = numbers.into_iter().collect();
        // The order of Java's strings.
        keys.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
        let mut rest = String::from(if keys.is_empty() { "" } else { "=" });
        for (key, value) in keys {
            // Writing to a string cannot fail.
            let _ = write!(rest, ";{key}={value}");
        }
        Some(Self { count, bytes, count_hard, bytes_hard, rest: rest.into() })
    }

    /// As the tree writes it.
    pub fn text(&self) -> String {
        format!("count={},bytes={}{}", self.count, self.bytes, self.rest)
    }
}

/// The parts between separators, without those that stand between two in a row.
fn inner((at, part): (usize, &str)) -> Option<&str> {
    (at == 0 || !part.is_empty()).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> Option<String> {
        StatsTrack::parse(Some(text.as_bytes())).map(|track| track.text())
    }

    /// What Apache's class made of these texts.
    #[test]
    fn texts_are_read_as_java_reads_them() {
        for (text, expected) in [
            ("", Some("count=-1,bytes=-1")),
            ("count=5,bytes=7", Some("count=5,bytes=7")),
            ("bytes=7;count=5", Some("count=5,bytes=7")),
            (
                "count=4,bytes=5=;countHardLimit=10;byteHardLimit=10",
                Some("count=4,bytes=5=;byteHardLimit=10;countHardLimit=10"),
            ),
            ("count=4,bytes=5=;zeta=1;Alpha=2;=3", Some("count=4,bytes=5=;=3;Alpha=2;zeta=1")),
            ("count=+5,,;;bytes=-7,;", Some("count=5,bytes=-7")),
            ("count==5", Some("count=-1,bytes=-1")),
            ("count=5=6=x,count=8", Some("count=8,bytes=-1")),
            ("count=9223372036854775807", Some("count=9223372036854775807,bytes=-1")),
            (",;,", Some("count=-1,bytes=-1")),
            (",count=5", None),
            ("count=", None),
            ("count", None),
            ("=", None),
            ("count=5,=", None),
            ("count= 5", None),
            ("count=9223372036854775808", None),
            ("count=5,bytes=x", None),
            ("count=-", None),
        ] {
            assert_eq!(printed(text).as_deref(), expected, "{text:?}");
        }
        assert_eq!(StatsTrack::parse(None), None);
        assert_eq!(StatsTrack::parse(Some(&[b','; TEXT_MAX + 1])), None);
    }

    #[test]
    fn missing_limits_are_none() {
        let track = StatsTrack::parse(Some(b"count=1,bytes=-1=;byteHardLimit=2")).unwrap_or_default();
        assert_eq!((track.count, track.bytes, track.count_hard, track.bytes_hard), (1, -1, -1, 2));
    }
}
