//! Encodes a snapshot, piece by piece, into buffers of the caller's.
//!
//! The pieces, in order: [`begin`](SnapshotEncoder::begin), a [`node`](SnapshotEncoder::node) for each znode with
//! parents before children, [`finish`](SnapshotEncoder::finish). All bytes pass the running checksum, so what is
//! appended to the buffer must reach the file unchanged and in this order; the buffer may be taken away between calls.

use wire::jute::{Buffer, Field, write_str};
use wire::{AclVec, SessionId, StatPersisted, Zxid};

use super::{DBID, END, MAGIC, SnapshotDigest, VERSION};

/// Adler-32 of what was seen so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Checksum(u32);

impl Checksum {
    pub(super) fn new() -> Self {
        Self(1)
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let mut adler = simd_adler32::Adler32::from_checksum(self.0);
        adler.write(bytes);
        self.0 = adler.finish();
    }

    pub(super) fn value(&self) -> i64 {
        i64::from(self.0)
    }
}

/// The encoder. It holds a checksum and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SnapshotEncoder {
    sum: Checksum,
}

impl Default for SnapshotEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl SnapshotEncoder {
    /// An encoder that has written nothing.
    pub fn new() -> Self {
        Self { sum: Checksum::new() }
    }

    /// Header, sessions with their timeouts in ms, and the ACL table (ids from 1; -1, `world:anyone` for all, is in no
    /// table). Apache reads both in any order.
    pub fn begin<'a>(
        &mut self,
        sessions: impl ExactSizeIterator<Item = (SessionId, i32)>,
        acls: impl ExactSizeIterator<Item = (i64, AclVec<'a>)>,
        out: &mut Vec<u8>,
    ) {
        self.begin_raw(out);
        let from = out.len();
        (sessions.len() as i32).write(out);
        for (session, timeout_ms) in sessions {
            session.write(out);
            timeout_ms.write(out);
        }
        (acls.len() as i32).write(out);
        for (id, acl) in acls {
            id.write(out);
            acl.write(out);
        }
        self.sum.add(&out[from..]);
    }

    /// The header.
    pub(super) fn begin_raw(&mut self, out: &mut Vec<u8>) {
        let from = out.len();
        MAGIC.write(out);
        VERSION.write(out);
        DBID.write(out);
        self.sum.add(&out[from..]);
    }

    /// What somebody else encoded: all of it, from the sessions to the end of the list.
    pub(super) fn add_raw(&mut self, bytes: &[u8]) {
        self.sum.add(bytes);
    }

    /// One znode. The root is `""`; `"/"`, which would end the list, is taken for it.
    pub fn node(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted, out: &mut Vec<u8>) {
        let from = out.len();
        write_str(if path == END { "" } else { path }, out);
        data.write(out);
        acl_id.write(out);
        stat.write(out);
        self.sum.add(&out[from..]);
    }

    /// The end of the list and the seals. Apache with default settings writes and expects both `digest` and
    /// `last_processed`; each may be left out, as `digest.enabled=false` and
    /// `serializeLastProcessedZxid.enabled=false` do there.
    pub fn finish(&mut self, digest: Option<SnapshotDigest>, last_processed: Option<Zxid>, out: &mut Vec<u8>) {
        let from = out.len();
        write_str(END, out);
        self.sum.add(&out[from..]);
        self.finish_raw(digest, last_processed, out);
    }

    /// The seals.
    pub(super) fn finish_raw(
        &mut self,
        digest: Option<SnapshotDigest>,
        last_processed: Option<Zxid>,
        out: &mut Vec<u8>,
    ) {
        self.seal(out);
        if let Some(digest) = digest {
            let from = out.len();
            digest.zxid.write(out);
            digest.version.write(out);
            digest.digest.write(out);
            self.sum.add(&out[from..]);
            self.seal(out);
        }
        if let Some(zxid) = last_processed {
            let from = out.len();
            zxid.write(out);
            self.sum.add(&out[from..]);
            self.seal(out);
        }
    }

    fn seal(&mut self, out: &mut Vec<u8>) {
        let from = out.len();
        self.sum.value().write(out);
        write_str(END, out);
        self.sum.add(&out[from..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_tree_byte_by_byte() {
        let (mut encoder, mut out) = (SnapshotEncoder::new(), Vec::new());
        encoder.begin([(SessionId(5), 4000)].into_iter(), [].into_iter(), &mut out);
        encoder.node("/", Some(b""), -1, &StatPersisted::default(), &mut out);
        encoder.finish(Some(SnapshotDigest { zxid: Zxid(9), version: 2, digest: 3 }), Some(Zxid(9)), &mut out);
        let mut expected = Vec::new();
        expected.extend_from_slice(b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff");
        expected.extend_from_slice(b"\0\0\0\x01\0\0\0\0\0\0\0\x05\0\0\x0f\xa0\0\0\0\0");
        expected.extend_from_slice(b"\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
        expected.extend_from_slice(&[0; 60]);
        expected.extend_from_slice(b"\0\0\0\x01/");
        let seal = |expected: &mut Vec<u8>| {
            let sum = simd_adler32::adler32(&expected.as_slice());
            expected.extend_from_slice(&i64::from(sum).to_be_bytes());
            expected.extend_from_slice(b"\0\0\0\x01/");
        };
        seal(&mut expected);
        expected.extend_from_slice(b"\0\0\0\0\0\0\0\x09\0\0\0\x02\0\0\0\0\0\0\0\x03");
        seal(&mut expected);
        expected.extend_from_slice(b"\0\0\0\0\0\0\0\x09");
        seal(&mut expected);
        assert_eq!(out, expected);
    }
}
