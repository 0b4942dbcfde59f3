//! Snapshots that are framed and sealed as they have to be, and hold what no tree can hold.

use storage::snapshot::decode::{SnapshotVisitor, decode};
use storage::snapshot::encode::SnapshotEncoder;
use wire::jute::{Buffer, Field as _};
use wire::{AclVec, SessionId, StatPersisted};

/// A znode of a snapshot.
#[derive(Debug, Clone)]
pub struct Znode {
    pub path: String,
    data: Option<Vec<u8>>,
    acl_id: i64,
    stat: StatPersisted,
}

/// What is done to those of a snapshot.
pub type Change = fn(&mut Vec<Znode>);

#[derive(Default)]
struct Content {
    sessions: Vec<(SessionId, i32)>,
    acls: Vec<(i64, Vec<u8>)>,
    znodes: Vec<Znode>,
}

impl SnapshotVisitor for Content {
    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.sessions.push((session, timeout_ms));
    }
    fn acl(&mut self, id: i64, acl: AclVec<'_>) {
        let mut encoded = Vec::new();
        acl.write(&mut encoded);
        self.acls.push((id, encoded));
    }
    fn node(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted) -> Result<(), String> {
        self.znodes.push(Znode { path: path.to_owned(), data: data.map(<[u8]>::to_vec), acl_id, stat: *stat });
        Ok(())
    }
}

/// The same snapshot with other znodes.
pub fn spoilt(file: &[u8], change: Change) -> Vec<u8> {
    let mut content = Content::default();
    let end = decode(file, 1 << 20, &mut content).unwrap();
    let Content { sessions, acls, mut znodes } = content;
    change(&mut znodes);
    let (mut encoder, mut out) = (SnapshotEncoder::new(), Vec::new());
    let acls: Vec<_> = acls.iter().map(|(id, encoded)| (*id, AclVec::of_encoded(encoded))).collect();
    encoder.begin(sessions.iter().copied(), acls.iter().copied(), &mut out);
    for Znode { path, data, acl_id, stat } in &znodes {
        encoder.node(path, data.as_deref(), *acl_id, stat, &mut out);
    }
    // As it travels, without a digest.
    encoder.finish(None, end.last_processed, &mut out);
    out
}
