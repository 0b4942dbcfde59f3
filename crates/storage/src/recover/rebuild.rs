//! From the bytes of a snapshot to what is rebuilt of it.

use std::io::Read;

use wire::jute::Buffer;
use wire::{AclVec, SessionId, StatPersisted, Zxid};

use super::Restore;
use crate::snapshot::decode::{LoadSnapshotError, SnapshotEnd, SnapshotVisitor, decode_file};
use crate::snapshot::stream::Compression;

/// Rebuilds what a snapshot holds that is called by this zxid.
pub(crate) fn decode_into(
    source: impl Read,
    compression: Compression,
    zxid: Zxid,
    length_max: usize,
    into: &mut dyn Restore,
    told: &mut dyn FnMut(u64),
) -> Result<SnapshotEnd, LoadSnapshotError> {
    let decoded = decode_file(source, compression, length_max, &mut Visitor(into), told);
    // What was refused stands before whatever is wrong with the rest of the file.
    if let Some((path, reason)) = into.refused() {
        return Err(LoadSnapshotError::Refused { path, reason });
    }
    let end = decoded?;
    if let Some(last) = end.last_processed.filter(|last| *last < zxid) {
        return Err(LoadSnapshotError::Renamed { last, named: zxid });
    }
    // A digest from before the name's zxid says nothing about this tree.
    let digest = end.digest.filter(|digest| digest.zxid >= zxid && digest.zxid != Zxid::ZERO);
    let refused = |reason| LoadSnapshotError::Refused { path: String::new(), reason };
    into.snapshot_end(zxid, digest).map_err(refused)?;
    Ok(end)
}

struct Visitor<'a>(&'a mut dyn Restore);

impl SnapshotVisitor for Visitor<'_> {
    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.0.session(session, timeout_ms);
    }
    fn acl(&mut self, id: i64, acl: AclVec<'_>) {
        self.0.acl(id, acl);
    }
    fn node(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted) -> Result<(), String> {
        self.0.node(path, data, acl_id, stat)
    }
}
