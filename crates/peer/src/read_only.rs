//! A member without a leader that lets those read who ask for it (`readonlymode.enabled`).
//!
//! What it shows is what it has applied: perhaps old, and after a start with the end of its log, which may never have been
//! committed. Only clients that said in their ConnectRequest that they can do with that get a session, one that nobody else
//! knows; writes and syncs are answered with NotReadOnly (-119). All connections end when this begins, since nobody among
//! them asked for it, and when it ends, so that nobody takes an old answer for one of the ensemble's.
//!
//! A session of the ensemble does not go on here: its connection is closed without a word, since nobody here can know
//! whether it lives.
//!
//! Source: Apache `ReadOnlyZooKeeperServer`, `ReadOnlyRequestProcessor`. Unlike there, it needs no `localSessionsEnabled`.

use std::collections::BTreeSet;

use tree::Tree;
use wire::{ErrorCode, OpCode, SessionId};

use crate::inbox::{ConnId, Granted, InboxEntry, ReplyBody, Submission, WriteRequest};
use crate::pipeline::Pipeline;
use crate::session_tracker::Expires;
use crate::shared::{ShardSet, Shared};
use crate::time::Now;

/// A mistake that can be switched on, to see that the simulator finds it.
#[cfg(feature = "seeded-defects")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOnlyDefect {
    /// Who only read stays connected when there is a leader, and its session goes on.
    GoesOn,
    /// A write of those who only read is acknowledged, and nothing is done.
    TakesWrites,
}

/// The sessions of those who only read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readers(BTreeSet<SessionId>);

impl Pipeline {
    /// There has been no leader for a while: from now on it serves reads.
    pub fn begin_read_only(&mut self, now: Now, shared: &Shared) -> ShardSet {
        self.tracker.begin_role(Expires::Local, now.mono_ms());
        self.readers = Some(Readers::default());
        // Whoever reads under this guard finds the end of its connection in its shard's inbox.
        let mut tree = shared.tree.write();
        let mut woken = self.close_all(shared, "there is no leader, and it did not ask for old answers");
        shared.set_serving(&mut tree, true);
        // Events that were held back find nobody: those who will read know what they tell.
        woken.extend(self.flush(shared));
        woken
    }

    /// A role begins: nobody is served until its epoch is established.
    pub fn end_read_only(&mut self, now: Now, shared: &Shared) -> ShardSet {
        let Some(Readers(sessions)) = self.readers.take() else { return ShardSet::default() };
        let mut tree = shared.tree.write();
        shared.set_serving(&mut tree, false);
        #[cfg(feature = "seeded-defects")]
        if self.read_only_defect == Some(ReadOnlyDefect::GoesOn) {
            self.looking_ms = now.mono_ms();
            return ShardSet::default();
        }
        for session in sessions {
            self.tracker.remove(session);
        }
        // Of a round that is over.
        (self.round, self.waiting_for) = (self.round + 1, ShardSet::default());
        self.looking_ms = now.mono_ms();
        self.close_all(shared, "it only read, and there is a leader now")
    }

    /// A mistake, from now on.
    #[cfg(feature = "seeded-defects")]
    pub fn spoil_read_only(&mut self, defect: ReadOnlyDefect) {
        self.read_only_defect = Some(defect);
    }

    pub(crate) fn forget_reader(&mut self, session: SessionId) {
        if let Some(Readers(sessions)) = &mut self.readers {
            sessions.remove(&session);
        }
    }

    /// A submission while only reads are served.
    pub(crate) fn submit_read_only(&mut self, now: Now, shared: &Shared, tree: &Tree, submission: Submission) {
        match submission {
            Submission::Connect { conn, read_only: true, .. } if self.is_one_session_too_many() => {
                shared.pipeline_stats.sessions_rejected.add(1);
                self.send(conn, InboxEntry::Close { conn, why: "there are too many sessions" });
            }
            Submission::Connect { conn, timeout_ms, read_only: true, .. } => {
                let session = self.tracker.allocate_id();
                self.tracker.add_local(session, timeout_ms, conn, now.mono_ms());
                self.readers.get_or_insert_default().0.insert(session);
                self.send(conn, InboxEntry::Established { conn, session, timeout_ms, granted: Granted::ToRead });
            }
            Submission::Renew { conn, session, timeout_ms, read_only: true } if self.is_of_reader(session) => {
                let old = self.tracker.get(session).and_then(|s| s.owner).filter(|&old| old != conn);
                if let Some(old) = old {
                    self.send(old, InboxEntry::Close { conn: old, why: "its session goes on at another connection" });
                }
                self.tracker.renew(session, timeout_ms, conn, now.mono_ms());
                self.send(conn, InboxEntry::Established { conn, session, timeout_ms, granted: Granted::ToRead });
            }
            Submission::Connect { conn, .. } | Submission::Renew { conn, .. } => {
                self.send(conn, InboxEntry::Close { conn, why: "there is no leader, and only readers are served" });
            }
            Submission::Write(write) => self.refuse_write(shared, tree, write),
            Submission::Gone { conn, session } => self.on_gone(shared, conn, session),
            Submission::Slept { from_ms, to_ms } => self.tracker.slept(from_ms, to_ms),
            Submission::Touches { shard, round, heard } => self.on_touches(now, shared, tree, shard, round, &heard),
        }
    }

    /// Of a session that has not run out of time meanwhile.
    fn is_of_reader(&self, session: SessionId) -> bool {
        let began_here = self.readers.as_ref().is_some_and(|readers| readers.0.contains(&session));
        began_here && self.tracker.get(session).is_some()
    }

    fn refuse_write(&mut self, shared: &Shared, tree: &Tree, write: WriteRequest) {
        let WriteRequest { conn, session, xid, op, body, received_us, reads_before, .. } = write;
        shared.end_request(body.len());
        if !self.is_of_reader(session) || !self.is_with(session, conn) {
            self.send(conn, InboxEntry::Close { conn, why: "its session is over or has moved" });
            return;
        }
        self.answer_reads(shared, tree, conn, session, &reads_before);
        let closes = op == OpCode::CloseSession;
        if closes {
            self.tracker.remove(session);
            self.forget_reader(session);
        }
        let err = if closes { ErrorCode::OK } else { ErrorCode::NOT_READ_ONLY };
        #[cfg(feature = "seeded-defects")]
        let err = if self.read_only_defect == Some(ReadOnlyDefect::TakesWrites) { ErrorCode::OK } else { err };
        let (zxid, body) = (tree.last_processed(), ReplyBody::None);
        self.send(conn, InboxEntry::Reply { conn, xid, op, zxid, err, body, received_us, last: closes });
    }

    fn is_with(&self, session: SessionId, conn: ConnId) -> bool {
        self.tracker.get(session).is_some_and(|found| found.owner == Some(conn))
    }
}
