//! What clients of a learner had asked for, and were not told, when its role ended. Whether the leader made txns of it, and whether
//! those live, is not known then. Apache closes the connections. Here they stay, what they wait for waits on, in each session's
//! order, and the next leader's history says what becomes of it.
//!
//! **What is in that history was done.** A learner is brought to it by one txn after another, each is applied here, and a txn has
//! its session and the number of its request: it answers the oldest write that waits in that session. The answer is held
//! back, as events are, until the epoch is established; if it never is, and the txn is cut, the tree is another one and
//! everybody is closed. Where a snapshot comes instead of txns, nobody can tell: all connections are closed, as ever.
//!
//! **What is not in it never will be**, so it is handed on anew, to be done once. For let a write have been handed on to the leader of
//! epoch e, let e' > e be the epoch that was established, and let H be the history with which it began. A txn of e is
//! committed when a quorum has logged it. Whoever logged one of e did so before it accepted e', and told of it when it
//! did; of the quorum that accepted e', one is in each quorum of e, and the leader of e' knew no less than any of them. So what was
//! committed in e is in H; what is not in H was logged by no quorum, and will be by none: a quorum takes nothing of e
//! any more. All later epochs begin with histories that go on from H. And all of H is applied here before its epoch is
//! served: a leader's own log before it leads, what a learner lacks before UPTODATE.
//!
//! That holds for a later epoch alone. Who comes back to the leader that it had may find its request still on the way there, by the
//! old connection: then what was handed on and is not known is closed.
//!
//! So it is for an observer that goes from one follower to another in the same epoch, although the leader refuses what comes for a
//! session that was asked for by another connection since. For it knows its own connections only, and that of the follower that was
//! left is the way of that one's own clients, too, and of all its observers. When this client goes on there, by itself or since the
//! observer has come back, the session is there again; and if the request comes only then, it is done twice, maybe behind what
//! its client has written since. Our followers hand on nothing so late (`may_hand_on`), Apache's hand on everything, and an observer does
//! not know whose it had. A sync does not help: it shows what came before it, and not that nothing comes later. Until the epoch
//! is over nobody knows that, and no client waits so long.
//!
//! The order of a session stays. Requests went to the leader by one connection, so those that became txns are the first of those
//! that wait; if it ever looks otherwise, the connection is closed. What is handed on anew goes ahead of what came later, and the
//! way of everything that is sent after an election: the session is asked for at the new leader, and waits for a sync behind the
//! answer; a txn in its name from elsewhere, the end of its connection, or a time in which its client may have given this
//! server up, ends it (`go_on_with_sessions`). The time runs from when its client had an answer last, before the oldest of what waits.
//!
//! | what was under way | |
//! |---|---|
//! | a write, a multi, a reconfig, closeSession | as above: each is one txn, with the number of its request |
//! | sync | asked again: it changes nothing, and nothing behind it in its connection was looked at |
//! | a new session | asked for again, with another id: one that was made all the same has no client, and runs out of time |
//! | a session that goes on here | asked for again |
//! | the upgrade of a local session, and what is behind it | closed: one request, two txns |
//! | anything at a leader whose role ends | closed: it is known as txns only |
//!
//! It is bounded as it was when it was in flight: it counts as that until it is answered.

use std::collections::{BTreeMap, VecDeque};

use wire::txn::TxnHeader;
use wire::{Epoch, OpCode, Reader, SessionId, Xid};

use crate::inbox::{ConnId, InboxEntry, Submission, WriteRequest};
use crate::pending::Pending;
use crate::pipeline::Pipeline;
use crate::shared::Shared;
use crate::time::Now;

/// All of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unanswered {
    sessions: BTreeMap<SessionId, Waiting>,
    /// The last epoch in which any of it was handed on.
    epoch: Epoch,
    /// A mistake: nothing is looked for in the history.
    #[cfg(feature = "seeded-defects")]
    looks_for_nothing: bool,
}

/// One session's.
#[derive(Debug, Clone)]
struct Waiting {
    conn: ConnId,
    /// When its client was told something last, at least, on the clock that never goes back.
    told_ms: i64,
    /// Oldest first.
    writes: VecDeque<Kept>,
}

#[derive(Debug, Clone)]
struct Kept {
    write: WriteRequest,
    /// A leader may have made a txn of it.
    was_handed_on: bool,
}

impl Unanswered {
    /// A role in this epoch is over, in which what is to be kept was handed on.
    pub(crate) fn begin(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// Keeps a write, or a sync, behind all others of its session, which are of the same connection.
    pub(crate) fn keep(&mut self, write: WriteRequest, was_handed_on: bool) {
        let none = || Waiting { conn: write.conn, told_ms: write.told_ms, writes: VecDeque::new() };
        let waiting = self.sessions.entry(write.session).or_insert_with(none);
        waiting.writes.push_back(Kept { write, was_handed_on });
    }

    /// A txn is about to be applied: whose is it? Returns a connection one of whose requests was done, and not the oldest.
    pub(crate) fn find_origin(&mut self, pending: &mut Pending) -> Option<ConnId> {
        let waiting = self.sessions.get_mut(&pending.session)?;
        let header: TxnHeader = Reader::new(&pending.entry).read().ok()?;
        #[cfg(feature = "seeded-defects")]
        if self.looks_for_nothing {
            return None;
        }
        let is_it = |kept: &Kept| kept.is_asked_by(header.cxid, header.op);
        match waiting.writes.pop_front_if(|first| is_it(first)) {
            Some(kept) => {
                kept.write.answered_by(pending);
                if waiting.writes.is_empty() {
                    self.sessions.remove(&pending.session);
                }
                None
            }
            None => waiting.writes.iter().any(is_it).then_some(waiting.conn),
        }
    }

    /// Is a txn like this what may have become of something that waits?
    pub(crate) fn has_asked_for(&self, session: SessionId, cxid: Xid, op: OpCode) -> bool {
        self.sessions.get(&session).is_some_and(|it| it.writes.iter().any(|kept| kept.is_asked_by(cxid, op)))
    }

    /// When this session's client was told something last, if any of its requests waits.
    pub(crate) fn told_ms(&self, session: SessionId) -> Option<i64> {
        self.sessions.get(&session).map(|waiting| waiting.told_ms)
    }

    /// What waits at this connection will not be done, or is not to be told.
    pub(crate) fn forget(&mut self, shared: &Shared, session: SessionId, conn: ConnId) {
        if self.sessions.get(&session).is_some_and(|waiting| waiting.conn == conn) {
            self.sessions.remove(&session).into_iter().for_each(|waiting| waiting.end(shared));
        }
    }

    /// Nor what waits anywhere.
    pub(crate) fn forget_all(&mut self, shared: &Shared) {
        for waiting in std::mem::take(&mut self.sessions).into_values() {
            waiting.end(shared);
        }
    }
}

impl Waiting {
    fn end(self, shared: &Shared) {
        self.writes.iter().for_each(|kept| shared.end_request(kept.write.body.len()));
    }
}

impl Kept {
    fn is_asked_by(&self, cxid: Xid, op: OpCode) -> bool {
        self.was_handed_on && self.write.is_asked_by(cxid, op)
    }
}

impl WriteRequest {
    /// Is this what becomes of it? A session's beginning, and an end that the leader decided, have the number 0.
    pub(crate) fn is_asked_by(&self, cxid: Xid, op: OpCode) -> bool {
        let is_of_server = matches!(op, OpCode::CreateSession | OpCode::CloseSession) && op != self.op;
        self.xid == cxid && !is_of_server
    }
}

impl Pipeline {
    /// A mistake: from now on, what is in the history is handed on anew, too.
    #[cfg(feature = "seeded-defects")]
    pub fn look_for_nothing(&mut self) {
        self.unanswered.looks_for_nothing = true;
    }

    /// What waits at this connection is not as it should be, or its client is elsewhere.
    pub(crate) fn close_unanswered(&mut self, shared: &Shared, session: SessionId, conn: ConnId, why: &'static str) {
        self.unanswered.forget(shared, session, conn);
        self.tracker.on_gone(session, conn);
        self.send(conn, InboxEntry::Close { conn, why });
    }

    /// An epoch is established, and all of the history with which it began is applied: what has no txn in that is handed on
    /// anew, ahead of all that came later.
    pub(crate) fn hand_on_anew(&mut self, now: Now, shared: &Shared, epoch: Epoch) {
        let handed_on = self.unanswered.epoch;
        let sessions = std::mem::take(&mut self.unanswered.sessions);
        let mut first = Vec::new();
        for (session, waiting) in sessions {
            let conn = waiting.conn;
            let timeout_ms = self.tracker.get(session).filter(|s| s.owner == Some(conn)).map(|s| s.timeout_ms);
            let is_late = timeout_ms.is_none_or(|it| has_waited(now, waiting.told_ms, it));
            let is_unclear = epoch <= handed_on && waiting.writes.iter().any(|kept| kept.was_handed_on);
            if is_late || is_unclear {
                waiting.end(shared);
                if timeout_ms.is_some() {
                    self.tracker.disown(session);
                }
                self.send(conn, InboxEntry::Close { conn, why: UNKNOWN });
            } else {
                first.extend(waiting.writes.into_iter().map(|kept| Submission::Write(kept.write)));
            }
        }
        first.append(&mut self.held);
        self.held = first;
    }
}

/// May a client with this timeout be about to give this server up, if it heard nothing since then? It does after two thirds.
pub(crate) fn has_waited(now: Now, since_ms: i64, timeout_ms: i32) -> bool {
    now.mono_ms() - since_ms >= i64::from(timeout_ms) / 2
}

pub(crate) const UNKNOWN: &str = "nobody knows what became of what it had asked for before the election";
