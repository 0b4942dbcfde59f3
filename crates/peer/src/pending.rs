//! Proposals, and answers that wait among them, until they are applied.

use std::ops::Deref;

use bytes::Bytes;
use wire::{OpCode, SessionId, Xid, Zxid};

use crate::inbox::{ConnId, ReadRequest, WriteRequest};

/// A proposal that is not applied yet.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub zxid: Zxid,
    /// Empty: an answer that needs no txn, but waits for the one with its zxid: the end of a local session, or a session that
    /// goes on at another connection.
    pub entry: Entry,
    pub origin: Origin,
    pub reads_before: Vec<ReadRequest>,
    pub session: SessionId,
    pub bytes: usize,
    pub received_us: u64,
    pub proposed_us: u64,
}

/// The bytes of a txn: its own, or shared with the messages that carry it.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Own(Vec<u8>),
    Shared(Bytes),
}

impl Entry {
    pub(crate) const NONE: Self = Self::Own(Vec::new());

    /// Shares them, without a copy.
    pub(crate) fn share(&mut self) -> Bytes {
        if let Self::Own(bytes) = self {
            *self = Self::Shared(std::mem::take(bytes).into());
        }
        match self {
            Self::Shared(bytes) => bytes.clone(),
            Self::Own(_) => Bytes::new(),
        }
    }
}

impl Deref for Entry {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Pending {
    /// Something that waits for an answer, and is no txn.
    pub(crate) fn answer(session: SessionId, origin: Origin, bytes: usize, received_us: u64) -> Self {
        let (zxid, entry, reads_before, proposed_us) = (Zxid::ZERO, Entry::NONE, Vec::new(), received_us);
        Self { zxid, entry, origin, reads_before, session, bytes, received_us, proposed_us }
    }
}

impl WriteRequest {
    /// This txn has come of it.
    pub(crate) fn answered_by(self, pending: &mut Pending) {
        pending.origin = Origin::Write { conn: self.conn, xid: self.xid, op: self.op };
        pending.reads_before = self.reads_before;
        pending.bytes = self.body.len();
        pending.received_us = self.received_us;
    }
}

/// Who waits for it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin {
    /// A client's write.
    Write { conn: ConnId, xid: Xid, op: OpCode },
    /// A client's wish for a session.
    Connect { conn: ConnId, timeout_ms: i32 },
    /// A session that goes on at this connection.
    Renew { conn: ConnId, timeout_ms: i32 },
    /// A client's write that the log has no room for.
    Refused { conn: ConnId, xid: Xid, op: OpCode },
    /// Nobody: the server itself.
    Server,
    /// Somebody at another server, or nobody: the txn itself is the answer.
    Elsewhere,
}
