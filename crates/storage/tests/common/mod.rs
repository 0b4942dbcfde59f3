//! What the tests share: txns, a tree that only remembers, an executor.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part of it; a test may panic")]

use std::collections::BTreeMap;

use ostler_storage::LogWriter;
use ostler_storage::disk::{Disk, Effect};
use ostler_storage::recover::{RecoverError, RecoverOptions, Recovered, Restore, recover};
use ostler_storage::snapshot::SnapshotDigest;
use sim::VirtualDisk;
use wire::jute::{Buffer, Field};
use wire::txn::{SetDataTxn, Txn, TxnDigest, TxnEntry, TxnHeader};
use wire::{AclVec, OpCode, SessionId, StatPersisted, Xid, Zxid};

/// A txn entry whose data is `fill`, `length` times.
pub fn entry(zxid: Zxid, length: usize, fill: u8) -> Vec<u8> {
    entry_with(zxid, &vec![fill; length], true)
}

/// The same with these data.
pub fn entry_with(zxid: Zxid, data: &[u8], has_digest: bool) -> Vec<u8> {
    TxnEntry {
        header: TxnHeader { session: SessionId(1), cxid: Xid(2), zxid, time_ms: 3, op: OpCode::SetData },
        txn: Txn::SetData(SetDataTxn { path: Some("/a".into()), data: Some(data), version: zxid.0 as i32 }),
        digest: has_digest.then_some(TxnDigest { version: 2, digest: 77 }),
    }
    .to_vec()
}

/// Remembers what it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    pub resets: usize,
    pub sessions: Vec<(SessionId, i32)>,
    pub acls: Vec<(i64, Vec<u8>)>,
    pub nodes: BTreeMap<String, (Option<Vec<u8>>, i64, i64)>,
    pub snapshot: Option<(Zxid, Option<SnapshotDigest>)>,
    pub txns: Vec<(Zxid, Vec<u8>)>,
}

impl Restore for Memory {
    fn reset(&mut self) {
        *self = Self { resets: self.resets + 1, ..Self::default() };
    }
    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.sessions.push((session, timeout_ms));
    }
    fn acl(&mut self, id: i64, acl: AclVec<'_>) {
        self.acls.push((id, acl.as_bytes().to_vec()));
    }
    fn node(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted) -> Result<(), String> {
        self.nodes.insert(path.to_owned(), (data.map(<[u8]>::to_vec), acl_id, stat.mzxid.0));
        Ok(())
    }
    fn snapshot_end(&mut self, zxid: Zxid, digest: Option<SnapshotDigest>) -> Result<(), String> {
        self.snapshot = Some((zxid, digest));
        Ok(())
    }
    fn txn(&mut self, entry: &TxnEntry<'_>) -> Result<(), String> {
        self.txns.push((entry.header.zxid, entry.to_vec()));
        Ok(())
    }
}

impl Memory {
    pub fn zxids(&self) -> Vec<i64> {
        self.txns.iter().map(|(zxid, _)| zxid.0).collect()
    }
}

pub fn run(disk: &mut VirtualDisk, effects: &[Effect]) {
    for effect in effects {
        disk.execute(effect).unwrap();
    }
}

/// Does all that the writer wants done.
pub fn drain(writer: &mut LogWriter, disk: &mut VirtualDisk) {
    while let Some(job) = writer.next_job() {
        run(disk, job.effects());
        writer.job_done(job);
    }
}

pub fn fill(writer: &mut LogWriter, disk: &mut VirtualDisk) {
    while let Some(job) = writer.next_fill() {
        run(disk, job.effects());
        writer.fill_done(job);
    }
}

pub fn recovered(disk: &mut VirtualDisk, options: &RecoverOptions) -> Result<(Recovered, Memory), RecoverError> {
    let mut memory = Memory::default();
    let found = recover(disk, options, &mut memory, &mut |_| ())?;
    Ok((found, memory))
}

/// What a recovery has said beside that there was no snapshot, which many tests do without.
pub fn told(found: &Recovered) -> Vec<String> {
    found.warnings.iter().filter(|warning| !warning.starts_with("no snapshot was found")).cloned().collect()
}

/// A small whole snapshot.
pub fn snapshot_bytes(nodes: usize, digest: bool, last: bool) -> Vec<u8> {
    snapshot_ended_at(9, nodes, digest, last)
}

/// The same, whose digest and last zxid are those of `ended_at`.
pub fn snapshot_ended_at(ended_at: i64, nodes: usize, digest: bool, last: bool) -> Vec<u8> {
    use ostler_storage::snapshot::encode::SnapshotEncoder;
    let (mut encoder, mut out) = (SnapshotEncoder::new(), Vec::new());
    let acl = AclVec::encode(&[wire::Acl::new(1, "ip", "10.0.0.1"), wire::Acl::new(31, "digest", "a:b")]);
    let acls = [(1, AclVec::parse(&acl).unwrap()), (2, AclVec::READ)];
    let sessions = [(SessionId(5), 4000), (SessionId(6), 6000)];
    encoder.begin(sessions.into_iter(), acls.into_iter(), &mut out);
    for i in 0..nodes {
        let path = if i == 0 { String::new() } else { format!("/node-{i}") };
        let data = vec![i as u8; i % 7];
        let stat = StatPersisted { mzxid: Zxid(i as i64), ..StatPersisted::default() };
        encoder.node(&path, (i % 3 != 2).then_some(&data), [-1, 1, 2][i % 3], &stat, &mut out);
    }
    let digest = digest.then_some(SnapshotDigest { zxid: Zxid(ended_at), version: 2, digest: -5 });
    encoder.finish(digest, last.then_some(Zxid(ended_at)), &mut out);
    out
}

/// Cheap options: little files.
pub fn small_log() -> ostler_storage::LogOptions {
    ostler_storage::LogOptions { preallocate: 1024, ..ostler_storage::LogOptions::default() }
}
