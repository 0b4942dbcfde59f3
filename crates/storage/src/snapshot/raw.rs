//! A snapshot as it travels from a leader to a learner: without header, seals and the sections behind the znodes, and
//! without a length. Where it ends is told only by what is in it.
//!
//! [`RawSplitter`] finds the end, in memory that does not depend on what comes: it looks at lengths and passes over the
//! rest. [`RawEncoder`] makes a file of it.
//!
//! Source: Apache `SerializeUtils.serializeSnapshot`, `Learner.syncWithLeader`.

use std::fmt;

use wire::Zxid;

use super::encode::SnapshotEncoder;
use super::{END, SnapshotDigest};

/// How many bytes of a file stand in front of what travels.
pub const HEADER_LENGTH: usize = 16;

/// The bytes of a znode behind its data: the number of its ACL and its Stat.
const BEHIND_DATA: u64 = 8 + 60;

/// Finds where a snapshot ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RawSplitter {
    next: Next,
    /// Bytes to pass over before it.
    skip: u64,
    /// The bytes of it that came.
    partial: [u8; 4],
    partial_length: usize,
    length_max: usize,
}

/// What stands behind the bytes that are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Next {
    /// How many sessions.
    Sessions,
    /// How many lists of the ACL table.
    Acls,
    /// How many entries; this many lists are left, with this one.
    Entries { lists: u32 },
    /// The length of a scheme.
    Scheme { lists: u32, entries: u32 },
    /// The length of an id.
    Id { lists: u32, entries: u32 },
    /// The length of a path.
    Path,
    /// The one byte of a path.
    OneByte,
    /// The length of a znode's data.
    Data,
    /// Nothing.
    End,
}

/// A length or a count that can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadLength(pub i32);

impl fmt::Display for BadLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unreasonable length {} in a snapshot (if that znode is real, raise jute.maxbuffer)", self.0)
    }
}

impl std::error::Error for BadLength {}

impl RawSplitter {
    /// At the start. `length_max` is the longest string or buffer to accept, in bytes.
    pub fn new(length_max: usize) -> Self {
        Self { next: Next::Sessions, skip: 0, partial: [0; 4], partial_length: 0, length_max }
    }

    /// Is the end behind it?
    pub fn is_end(&self) -> bool {
        self.next == Next::End && self.skip == 0
    }

    /// Looks at the next bytes: how many of them belong to the snapshot. All of them, unless it ends among them.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, BadLength> {
        let mut at = 0;
        loop {
            let passed = self.skip.min((bytes.len() - at) as u64);
            self.skip -= passed;
            at += passed as usize;
            if self.next == Next::End || self.skip > 0 {
                return Ok(at);
            }
            let width = if self.next == Next::OneByte { 1 } else { 4 };
            while self.partial_length < width {
                let Some(byte) = bytes.get(at) else { return Ok(at) };
                self.partial[self.partial_length] = *byte;
                self.partial_length += 1;
                at += 1;
            }
            self.partial_length = 0;
            self.step()?;
        }
    }

    fn step(&mut self) -> Result<(), BadLength> {
        let number = i32::from_be_bytes(self.partial);
        let count = || u32::try_from(number).map_err(|_| BadLength(number));
        let length = |is_nullable: bool| match usize::try_from(number) {
            Ok(n) if n <= self.length_max => Ok(n as u64),
            _ if number == -1 && is_nullable => Ok(0),
            _ => Err(BadLength(number)),
        };
        (self.next, self.skip) = match self.next {
            Next::Sessions => (Next::Acls, 12 * u64::from(count()?)),
            Next::Acls => lists(count()?),
            Next::Entries { lists: left } => match u32::try_from(number).unwrap_or(0) {
                0 => lists(left - 1),
                entries => (Next::Scheme { lists: left, entries }, 4),
            },
            Next::Scheme { lists, entries } => (Next::Id { lists, entries }, length(true)?),
            Next::Id { lists: left, entries: 1 } => {
                let (next, skip) = lists(left - 1);
                (next, skip + length(true)?)
            }
            Next::Id { lists, entries } => (Next::Scheme { lists, entries: entries - 1 }, length(true)? + 4),
            Next::Path => match length(false)? {
                1 => (Next::OneByte, 0),
                length => (Next::Data, length),
            },
            Next::OneByte if self.partial[0] == END.as_bytes()[0] => (Next::End, 0),
            Next::OneByte => (Next::Data, 0),
            Next::Data => (Next::Path, length(true)? + BEHIND_DATA),
            Next::End => (Next::End, 0),
        };
        Ok(())
    }
}

/// So many lists follow, and then the znodes.
fn lists(lists: u32) -> (Next, u64) {
    if lists == 0 { (Next::Path, 0) } else { (Next::Entries { lists }, 8) }
}

/// Makes a snapshot's file of one that travelled.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RawEncoder(SnapshotEncoder);

impl RawEncoder {
    /// What stands in front.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        self.0.begin_raw(out);
    }

    /// Looks at the next bytes, which go to the file as they are.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.add_raw(bytes);
    }

    /// What stands behind. The tree's digest did not travel with it, which is what a zxid of 0 says.
    pub fn finish(&mut self, zxid: Zxid, out: &mut Vec<u8>) {
        let digest = SnapshotDigest { zxid: Zxid::ZERO, version: 2, digest: 0 };
        self.0.finish_raw(Some(digest), Some(zxid), out);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;
    use wire::jute::{Buffer, Field as _};
    use wire::{AclVec, SessionId, StatPersisted};

    use super::super::decode::{SnapshotVisitor, decode};
    use super::*;

    /// A whole file, and the part of it that travels.
    fn file(sessions: i64, znodes: &[(&str, Buffer<'_>)]) -> (Vec<u8>, Vec<u8>) {
        let (mut encoder, mut out) = (SnapshotEncoder::new(), Vec::new());
        // Two entries, the second with an empty id; no list; a list of none.
        let two = b"\0\0\0\x02\0\0\0\x1f\0\0\0\x06digest\0\0\0\x03a:b\0\0\0\x01\0\0\0\x06digest\0\0\0\0";
        let two = AclVec::from_slice(two).unwrap();
        let none = AclVec::from_slice(&[0; 4]).unwrap();
        let lists: Vec<(i64, AclVec<'_>)> = vec![(1, two), (2, AclVec::NULL), (3, none)];
        let ids: Vec<(SessionId, i32)> = (0..sessions).map(|it| (SessionId(it), 4000)).collect();
        encoder.begin(ids.into_iter(), lists.into_iter(), &mut out);
        for (path, data) in znodes {
            encoder.node(path, *data, 1, &StatPersisted::default(), &mut out);
        }
        let body = out.len();
        encoder.finish(Some(SnapshotDigest { zxid: Zxid::ZERO, version: 2, digest: 0 }), Some(Zxid(9)), &mut out);
        let raw = out[HEADER_LENGTH..body + 5].to_vec();
        (out, raw)
    }

    const TREE: &[(&str, Buffer<'static>)] =
        &[("", Some(b"")), ("/a", None), ("x", Some(b"/")), ("/a/b", Some(b"some data"))];

    #[test]
    fn the_end_is_found_however_the_bytes_come() {
        for (sessions, tree) in [(0, &TREE[..1]), (2, TREE)] {
            let (_, raw) = file(sessions, tree);
            let more = [&raw[..], b"and what follows"].concat();
            for piece in 1..more.len() {
                let (mut splitter, mut taken) = (RawSplitter::new(100), 0);
                for piece in more.chunks(piece) {
                    let n = splitter.feed(piece).unwrap();
                    taken += n;
                    if n < piece.len() {
                        break;
                    }
                    assert!(splitter.is_end() == (taken == raw.len()));
                }
                assert!(splitter.is_end());
                assert_eq!(taken, raw.len());
            }
        }
    }

    struct Count(usize);
    impl SnapshotVisitor for Count {
        fn session(&mut self, _: SessionId, _: i32) {}
        fn acl(&mut self, _: i64, _: AclVec<'_>) {}
        fn node(&mut self, _: &str, _: Buffer<'_>, _: i64, _: &StatPersisted) -> Result<(), String> {
            self.0 += 1;
            Ok(())
        }
    }

    #[test]
    fn a_file_of_what_travelled_is_the_file() {
        let (file, raw) = file(2, TREE);
        let (mut encoder, mut out) = (RawEncoder::default(), Vec::new());
        encoder.begin(&mut out);
        for piece in raw.chunks(7) {
            encoder.add(piece);
            out.extend_from_slice(piece);
        }
        encoder.finish(Zxid(9), &mut out);
        assert_eq!(out, file);
        let mut count = Count(0);
        assert_eq!(decode(&out[..], 100, &mut count).unwrap().last_processed, Some(Zxid(9)));
        assert_eq!(count.0, TREE.len());
    }

    #[test]
    fn lengths_that_can_not_be() {
        let feed = |bytes: &[u8]| RawSplitter::new(100).feed(bytes);
        assert_eq!(feed(&(-1_i32).to_be_bytes()), Err(BadLength(-1)), "sessions");
        assert_eq!(feed(&[&[0; 4][..], &(-2_i32).to_be_bytes()].concat()), Err(BadLength(-2)), "lists");
        assert_eq!(feed(&[&[0; 8][..], &101_i32.to_be_bytes()].concat()), Err(BadLength(101)), "a path");
        assert_eq!(feed(&[&[0; 12][..], &(-2_i32).to_be_bytes()].concat()), Err(BadLength(-2)), "data");
        // Many sessions that never come cost nothing.
        assert_eq!(feed(&i32::MAX.to_be_bytes()), Ok(4));
    }

    proptest! {
        #[test]
        fn nonsense_ends_or_is_refused(bytes in prop::collection::vec(0_u8..4, 0..300), piece in 1_usize..50) {
            let mut splitter = RawSplitter::new(50);
            for piece in bytes.chunks(piece) {
                match splitter.feed(piece) {
                    Ok(n) if n == piece.len() => {}
                    Ok(_) => { prop_assert!(splitter.is_end()); break; }
                    Err(_) => break,
                }
            }
        }
    }
}
