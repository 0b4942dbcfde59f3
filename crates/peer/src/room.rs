//! A log whose disk is full: what the pipeline still takes in, and what it answers to the rest.
//!
//! Apache's server ends then. Ours goes on as long as that is honest:
//!
//! * Reads, pings, watches and sessions that go on at another connection need no txn: nothing changes for them.
//! * A write is refused with SystemError (-1) *before* it is prepared: it has no zxid, leaves no trace and was certainly not
//!   done. That code is as old as the protocol, so every client has a name for it; QuotaExceeded and ThrottledOp, which
//!   would fit as well, make Java clients of before 3.7 fail on the answer itself.
//! * Sessions begin and end in the reserve that the log keeps for them. When that is used up, too, a ConnectRequest costs its
//!   connection, a closeSession is refused like any write, and **no session expires**: none could be told of, and a client
//!   that can't be heard for our lack of room is not to blame. They are looked at again when there is room.
//! * A leader treats what learners hand on in the same way, but can refuse it only by an error txn: `held_back`.
//! * Container and TTL znodes go when there is room.
//!
//! Writes for which it is not known yet wait until it is: `ahead`.

use tree::Tree;
use wire::{ErrorCode, OpCode, SessionId, Xid};

use crate::inbox::{ConnId, InboxEntry, ReplyBody, WriteRequest};
use crate::pending::{Entry, Origin, Pending};
use crate::pipeline::Pipeline;
use crate::shared::Shared;

/// What the log can still take, as the log says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogRoom {
    /// Bytes of records that surely fit.
    pub bytes: u64,
    /// How many of them are for sessions to begin and end.
    pub reserve: u64,
    /// A batch waits for room: answers behind it would wait, too.
    pub is_stuck: bool,
}

/// What a record has beside the body of its request, at most: header, digest, checksum, a sequence number, an ACL that was
/// spelled out for the usual few identities.
pub(crate) const RECORD_MORE: u64 = 1024;

/// A write with a body of so many bytes must fit, or none is taken any more.
const USUAL_BODY: usize = 16 << 10;

impl Pipeline {
    /// What the log can take; `None` if nothing limits it. Tell it before each [`process`](Self::process) and
    /// [`tick`](Self::tick).
    pub fn set_room(&mut self, room: Option<LogRoom>) {
        let was_stuck = self.room.is_some_and(|room| room.is_stuck);
        // Once refused, all are, until something has changed for the better: a client could not make sense of a server that
        // takes some of its writes.
        self.refuses &= room.is_some_and(|room| room.is_stuck || !was_stuck);
        self.room = room;
    }

    /// Are writes refused for want of room? What a write of the smallest kind would be told.
    pub fn refuses_writes(&self) -> bool {
        self.refuses || !self.fits(0)
    }

    fn fits(&self, body: usize) -> bool {
        self.room.is_none_or(|room| room.bytes >= room.reserve + body as u64 + RECORD_MORE)
    }

    pub(crate) fn takes_write(&mut self, body: usize) -> bool {
        if self.refuses {
            return false;
        }
        let fits = self.fits(body);
        if !fits {
            // One that is too long for what is left ends it only for itself.
            self.refuses = !self.fits(USUAL_BODY);
        }
        fits
    }

    /// For a write of a learner's client to be refused, which takes an error txn. Half of the reserve is for them; the other half
    /// stays for sessions.
    pub(crate) fn has_room_for_refusal(&self) -> bool {
        self.room.is_none_or(|room| room.bytes >= room.reserve / 2 + RECORD_MORE)
    }

    /// For a session to begin or end; its ephemerals need not be named.
    pub(crate) fn has_room_for_session(&self) -> bool {
        self.room.is_none_or(|room| room.bytes >= RECORD_MORE)
    }

    /// The longest entry that fits, in bytes.
    pub(crate) fn entry_max(&self) -> usize {
        self.room
            .map_or(usize::MAX, |room| usize::try_from(room.bytes.saturating_sub(RECORD_MORE)).unwrap_or(usize::MAX))
    }

    /// A proposal of so many bytes goes to the log.
    pub(crate) fn takes_room(&mut self, entry: usize) {
        self.takes_ahead((entry + RECORD_OVERHEAD) as u64);
        if let Some(room) = &mut self.room {
            room.bytes = room.bytes.saturating_sub((entry + RECORD_OVERHEAD) as u64);
        }
    }

    /// Answers a write that there is no room for; its answer stands behind those of the same connection's other requests.
    pub(crate) fn refuse(&mut self, shared: &Shared, tree: &Tree, write: WriteRequest) {
        let WriteRequest { conn, session, xid, op, body, received_us, reads_before, .. } = write;
        shared.pipeline_stats.refused.add(1);
        let pending = Pending {
            zxid: self.proposed(),
            entry: Entry::NONE,
            origin: Origin::Refused { conn, xid, op },
            reads_before,
            session,
            bytes: body.len(),
            received_us,
            proposed_us: received_us,
        };
        if self.has_pending(conn, session) {
            self.pending.push_back(pending);
        } else {
            self.answer_refused(shared, tree, conn, xid, op, &pending);
        }
    }

    /// Is something of this connection or session on its way? Nothing, while no batch is out.
    pub(crate) fn has_pending(&self, conn: ConnId, session: SessionId) -> bool {
        self.pending.iter().any(|pending| {
            pending.session == session
                || match pending.origin {
                    Origin::Write { conn: other, .. }
                    | Origin::Refused { conn: other, .. }
                    | Origin::Connect { conn: other, .. }
                    | Origin::Renew { conn: other, .. } => other == conn,
                    Origin::Server | Origin::Elsewhere => false,
                }
        })
    }

    pub(crate) fn answer_refused(
        &mut self,
        shared: &Shared,
        tree: &Tree,
        conn: ConnId,
        xid: Xid,
        op: OpCode,
        pending: &Pending,
    ) {
        self.answer_reads(shared, tree, conn, pending.session, &pending.reads_before);
        shared.end_request(pending.bytes);
        let (zxid, err, received_us) = (tree.last_processed(), ErrorCode::SYSTEM_ERROR, pending.received_us);
        // A client that closes goes away whatever the answer is.
        let last = op == OpCode::CloseSession;
        self.send(conn, InboxEntry::Reply { conn, xid, op, zxid, err, body: ReplyBody::None, received_us, last });
    }
}

/// What a log record has beside its entry.
const RECORD_OVERHEAD: usize = 13;
