//! The names of the files in a data directory, as Apache gives and sorts them (`Util`, `FileTxnLog`, `FileSnap`).
//!
//! Apache takes every file whose name starts with `log.` or `snapshot.` for one of its own, with the zxid of the second
//! dot-separated part; so no other file of ours starts with these.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use wire::Zxid;

/// A file's name inside its directory. Cheap to clone and compare: names on the hot path are numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileName {
    /// `log.<hex>`: a txn log, named by its first txn.
    Log(Zxid),
    /// `snapshot.<hex>`: a snapshot, named by the tree's zxid when it was begun.
    Snapshot(Zxid),
    /// `ostler.next`: the next log file, being zero-filled.
    NextLog,
    /// `ostler.new`: a log file that is getting its header, when no zero-filled one is ready.
    NewLog,
    /// `ostler.snapshot.tmp`: a snapshot that is being written.
    SnapshotTemp,
    /// `initialize`: the mark that an empty database is meant to be empty (ZOOKEEPER-261).
    Initialize,
    /// Any other name.
    Other(Arc<str>),
}

impl FileName {
    /// The name that `text` is. A name that another text would also give (`log.00a`, `snapshot.1.gz`) is
    /// [`Other`](Self::Other), so `parse(x).to_string() == x` always holds.
    pub fn parse(text: &str) -> Self {
        let known = match text {
            "ostler.next" => Some(Self::NextLog),
            "ostler.new" => Some(Self::NewLog),
            "ostler.snapshot.tmp" => Some(Self::SnapshotTemp),
            "initialize" => Some(Self::Initialize),
            _ => zxid_of(text, LOG).map(Self::Log).or_else(|| zxid_of(text, SNAPSHOT).map(Self::Snapshot)),
        };
        known.filter(|name| name.to_string() == text).unwrap_or_else(|| Self::Other(text.into()))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(zxid) => write!(f, "log.{:x}", zxid.0),
            Self::Snapshot(zxid) => write!(f, "snapshot.{:x}", zxid.0),
            Self::NextLog => f.write_str("ostler.next"),
            Self::NewLog => f.write_str("ostler.new"),
            Self::SnapshotTemp => f.write_str("ostler.snapshot.tmp"),
            Self::Initialize => f.write_str("initialize"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// The prefix of txn logs, without the dot.
pub const LOG: &str = "log";
/// The prefix of snapshots, without the dot.
pub const SNAPSHOT: &str = "snapshot";

/// The prefix of what was cut from a log and kept, without the dot.
pub const CUT: &str = "ostler.cut";

/// The zxid in a file's name, if the name is `<prefix>.<hex>` or `<prefix>.<hex>.<anything>` (`Util.getZxidFromName`).
///
/// Apache reads the number as a signed hexadecimal and takes what it can't read for -1; here that is `None`.
pub fn zxid_of(name: &str, prefix: &str) -> Option<Zxid> {
    let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
    let hex = rest.split('.').next().unwrap_or_default();
    if hex.is_empty() || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    i64::from_str_radix(hex, 16).ok().map(Zxid)
}

/// A file of a listing that carries a zxid in its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// The zxid in the name.
    pub zxid: Zxid,
    /// The name.
    pub name: FileName,
    /// The file's length in bytes.
    pub length: u64,
}

impl Numbered {
    /// Ascending by zxid, then by name so that the order never depends on the listing's.
    fn order(&self, other: &Self) -> Ordering {
        self.zxid.cmp(&other.zxid).then_with(|| self.name.to_string().cmp(&other.name.to_string()))
    }
}

/// What a name ends with while Apache is still writing the file (`AtomicFileOutputStream`): a snapshot that came from a
/// leader, or an epoch. Nothing is acknowledged before the file has lost it.
pub const UNFINISHED: &str = ".tmp";

/// The files of `listing` with this prefix and a zxid, oldest first. One that was never finished is none of them, other
/// than in Apache, which takes `snapshot.5.tmp` for a snapshot.
pub fn numbered(listing: &[crate::disk::Entry], prefix: &str) -> Vec<Numbered> {
    let mut files: Vec<_> = listing
        .iter()
        .filter(|entry| !entry.name.ends_with(UNFINISHED))
        .filter_map(|entry| {
            let zxid = zxid_of(&entry.name, prefix)?;
            Some(Numbered { zxid, name: FileName::parse(&entry.name), length: entry.length })
        })
        .collect();
    files.sort_by(Numbered::order);
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ["log.1a", "snapshot.0", "ostler.next", "ostler.new", "ostler.snapshot.tmp", "initialize"] {
            let parsed = FileName::parse(name);
            assert_eq!(parsed.to_string(), name);
            assert!(!matches!(parsed, FileName::Other(_)), "{name}");
        }
        for name in ["log.01", "log.1A", "snapshot.1.gz", "log.", "log.x", "myid", "log.ffffffffffffffff"] {
            assert_eq!(FileName::parse(name), FileName::Other(name.into()));
        }
    }

    #[test]
    fn zxid_is_the_second_part() {
        assert_eq!(zxid_of("snapshot.1a.gz", SNAPSHOT), Some(Zxid(0x1a)));
        assert_eq!(zxid_of("log.100000001", LOG), Some(Zxid(0x1_0000_0001)));
        assert_eq!(zxid_of("log.+1", LOG), None);
        assert_eq!(zxid_of("logs.1", LOG), None);
    }
}
