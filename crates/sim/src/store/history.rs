//! What was logged, in the plainest form: a chain of checksums, one link a txn.
//!
//! A recovered state is right if it ends with the link that the history has for its last zxid: then it is made of exactly
//! the txns up to there, in their order, each byte of them. A snapshot carries the link of its zxid as the data of its root.

mod pieces;

use std::hash::{DefaultHasher, Hash, Hasher};

use storage::Restore;
use storage::snapshot::SnapshotDigest;
use storage::snapshot::encode::SnapshotEncoder;
use wire::jute::{Buffer, Field};
use wire::txn::{CreateTxn, SetDataTxn, Txn, TxnEntry, TxnHeader};
use wire::{AclVec, OpCode, SessionId, StatPersisted, Xid, Zxid};

use crate::rng::Rng;

/// A link of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link(u64);

impl Link {
    /// The one before all txns.
    pub const START: Self = Self(0);

    /// The one behind another txn.
    pub fn then(self, entry: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        (self.0, entry).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The txns that a server was asked to log, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct History {
    txns: Vec<(Zxid, Link)>,
}

impl History {
    /// One of which only the end is known.
    pub fn ending(last: Zxid, link: Link) -> Self {
        Self { txns: if last > Zxid::ZERO { vec![(last, link)] } else { Vec::new() } }
    }

    /// The last zxid; 0 if there is none.
    pub fn last(&self) -> Zxid {
        self.txns.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    /// How many txns there are.
    pub fn len(&self) -> usize {
        self.txns.len()
    }

    /// How many of them are not later than `zxid`.
    pub fn up_to(&self, zxid: Zxid) -> usize {
        self.txns.partition_point(|(it, _)| *it <= zxid)
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.txns.is_empty()
    }

    /// The link of a zxid; `None` if the history has no such txn.
    pub fn link(&self, zxid: Zxid) -> Option<Link> {
        if zxid == Zxid::ZERO {
            return Some(Link::START);
        }
        let at = self.txns.binary_search_by_key(&zxid, |(zxid, _)| *zxid).ok()?;
        self.txns.get(at).map(|(_, link)| *link)
    }

    /// The txns behind `after`, up to `to`.
    pub fn between(&self, after: Zxid, to: Zxid) -> &[(Zxid, Link)] {
        let (from, to) = (self.up_to(after), self.up_to(to));
        self.txns.get(from..to).unwrap_or_default()
    }

    /// Another txn.
    pub fn push(&mut self, zxid: Zxid, entry: &[u8]) {
        let link = self.txns.last().map_or(Link::START, |(_, link)| *link);
        self.txns.push((zxid, link.then(entry)));
    }

    /// Everything behind `zxid` is not part of it any more.
    pub fn cut(&mut self, zxid: Zxid) {
        self.txns.retain(|(it, _)| *it <= zxid);
    }

    /// The zxid that many txns before the last one.
    pub fn back(&self, txns: usize) -> Zxid {
        let at = self.txns.len().checked_sub(txns + 1);
        at.and_then(|at| self.txns.get(at)).map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }
}

/// What a txn's data is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Data {
    /// No byte is zero.
    Text,
    /// Nothing but zeros, the content of a znode all the same.
    Zeros,
    /// Pieces of a log, as this seed has them.
    Log(u64),
}

/// The txn entry of a zxid, with so many bytes of data.
pub fn entry(zxid: Zxid, length: usize, kind: Data) -> Vec<u8> {
    let of_text = |i: usize| ((zxid.0 as usize).wrapping_mul(31).wrapping_add(i * 7) % 255) as u8 + 1;
    let data: Vec<u8> = match kind {
        Data::Text => (0..length).map(of_text).collect(),
        Data::Zeros => vec![0; length],
        Data::Log(seed) => pieces::of_log(zxid, length, &mut Rng::new(seed)),
    };
    if matches!(kind, Data::Log(seed) if seed % 4 == 0) { created(zxid, &data) } else { set(zxid, &data) }
}

fn set(zxid: Zxid, data: &[u8]) -> Vec<u8> {
    let txn = Txn::SetData(SetDataTxn { path: Some("/a".into()), data: Some(data), version: zxid.0 as i32 });
    of(zxid, OpCode::SetData, txn)
}

fn created(zxid: Zxid, data: &[u8]) -> Vec<u8> {
    let (path, acl) = (Some("/a/b".into()), AclVec::OPEN);
    let txn = Txn::Create(CreateTxn { path, data: Some(data), acl, ephemeral: false, parent_cversion: 1 });
    of(zxid, OpCode::Create, txn)
}

fn of(zxid: Zxid, op: OpCode, txn: Txn<'_>) -> Vec<u8> {
    let header = TxnHeader { session: SessionId(1), cxid: Xid(2), zxid, time_ms: 3, op };
    TxnEntry { header, txn, digest: None }.to_vec()
}

/// A snapshot whose last txn is `zxid`, of at least so many bytes.
pub fn snapshot(zxid: Zxid, link: Link, bytes: usize) -> Vec<u8> {
    snapshot_with(zxid, link, bytes, None)
}

/// The same, with another znode: its path and its data.
pub fn snapshot_with(zxid: Zxid, link: Link, bytes: usize, other: Option<(&str, &[u8])>) -> Vec<u8> {
    let (mut encoder, mut out) = (SnapshotEncoder::new(), Vec::new());
    encoder.begin([(SessionId(5), 4000)].into_iter(), [].into_iter(), &mut out);
    let mut data = link.0.to_be_bytes().to_vec();
    data.resize(8 + bytes, 0x5a);
    encoder.node("", Some(&data), -1, &StatPersisted::default(), &mut out);
    if let Some((path, data)) = other {
        encoder.node(path, Some(data), -1, &StatPersisted::default(), &mut out);
    }
    encoder.finish(None, Some(zxid), &mut out);
    out
}

/// What a recovery has rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// The last link.
    pub link: Link,
    /// The last zxid.
    pub last: Zxid,
}

impl Default for Rebuilt {
    fn default() -> Self {
        Self { link: Link::START, last: Zxid::ZERO }
    }
}

impl Restore for Rebuilt {
    fn reset(&mut self) {
        *self = Self::default();
    }
    fn session(&mut self, _: SessionId, _: i32) {}
    fn acl(&mut self, _: i64, _: AclVec<'_>) {}
    fn node(&mut self, _: &str, data: Buffer<'_>, _: i64, _: &StatPersisted) -> Result<(), String> {
        let link = data.and_then(|data| data.first_chunk().copied()).map(u64::from_be_bytes);
        self.link = Link(link.ok_or("the root has no link")?);
        Ok(())
    }
    fn snapshot_end(&mut self, zxid: Zxid, _: Option<SnapshotDigest>) -> Result<(), String> {
        self.last = zxid;
        Ok(())
    }
    fn txn(&mut self, entry: &TxnEntry<'_>) -> Result<(), String> {
        self.link = self.link.then(&entry.to_vec());
        self.last = entry.header.zxid;
        Ok(())
    }
}
