//! Synchronization: a learner gets what it lacks, from memory, from the log on the disk, or as a snapshot, then NEWLEADER,
//! and from that moment on everything that happens.
//!
//! What comes from the disk is read in parts, the next when the one before is nearly sent, so a learner that lacks much
//! costs a few MiB. While it streams, nothing live is queued: it will come by the part in memory, which is queued at once,
//! with what is outstanding, when the stream has reached it.

use wire::Zxid;
use wire::quorum::Packet;

use super::handler::{Handler, Stage, SyncKind, ToLearner};
use super::{CloseReason, ConnId, Leader, Output, SyncBegins, SyncHow};
use crate::committed_log::Proposal;
use crate::durable::Token;
use crate::options::Defect;
use crate::sync_plan::{LogPart, SyncPlan, plan, plan_from_disk};

/// The next part of the log is read when no more than this part of what may wait to be sent waits: 1 MiB of 256 MiB.
const STREAM_LOW_WATER_PART: usize = 256;

impl Leader {
    /// A learner whose history ends at `last`.
    pub(super) fn begin_sync(&mut self, now_ms: u64, conn: ConnId, last: Zxid) {
        let mut plan = plan(last, &self.log, self.options.force_snapshot_sync);
        if plan == SyncPlan::ReadLog && self.options.has(Defect::GapServed) {
            plan = SyncPlan::Diff { to: self.log.committed(), after: self.log.start() };
        }
        if plan == SyncPlan::ReadLog {
            let token = self.tokens.next();
            let Some(handler) = self.handlers.get_mut(&conn) else { return };
            handler.stage = Stage::ReadLog { token, last };
            handler.read_deadline_ms = now_ms + self.options.init_limit_ms();
            let up_to = self.log.start();
            self.outputs.push_back(Output::ReadLog { conn, token, from: last, up_to, is_first: true });
            return;
        }
        self.follow(now_ms, conn, plan, None);
    }

    /// Begins what was decided. `part` is what was read to decide it.
    fn follow(&mut self, now_ms: u64, conn: ConnId, plan: SyncPlan, part: Option<LogPart>) {
        let kind = if matches!(plan, SyncPlan::Snap { .. }) { SyncKind::Snap } else { SyncKind::Diff };
        let under_way = self.handlers.values().filter(|handler| handler.sync == Some(kind)).count();
        let max = if kind == SyncKind::Snap { self.options.snap_syncs_max } else { self.options.diff_syncs_max };
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        // Voters are needed; they only count. Anybody may say that it is a follower.
        if !handler.is_voter && under_way >= max {
            return self.close(now_ms, conn, CloseReason::Throttled);
        }
        handler.sync = Some(kind);
        handler.read_deadline_ms = now_ms + self.options.init_limit_ms();
        let (packet, how, cursor) = match plan {
            SyncPlan::Diff { to, after } => (Packet::Diff { zxid: to }, SyncHow::Diff(after), after),
            SyncPlan::Trunc { to } => (Packet::Trunc { zxid: to }, SyncHow::Trunc(to), to),
            SyncPlan::Snap { mut at_least } => {
                if self.options.has(Defect::SnapshotOfAnyAge) {
                    at_least = Zxid(-1);
                }
                let token = self.tokens.next();
                handler.stage = Stage::OpenSnapshot { token, at_least };
                self.outputs.push_back(Output::OpenSnapshot { conn, token, at_least });
                return;
            }
            SyncPlan::ReadLog => return self.close(now_ms, conn, CloseReason::NoHistory),
        };
        handler.stage = Stage::Streaming { cursor, token: None };
        self.tell_sync(conn, how, cursor);
        self.push(now_ms, conn, packet);
        if let Some(part) = part {
            let rest = part.proposals.into_iter().filter(|proposal| proposal.zxid > cursor).collect();
            self.stream(conn, LogPart { before: cursor, proposals: rest });
        }
        self.pump(now_ms, conn);
    }

    /// What a learner is to get that has, or gets first, everything up to `cursor`.
    fn tell_sync(&mut self, conn: ConnId, how: SyncHow, cursor: Zxid) {
        let to = self.log.committed();
        let Some(server) = self.handlers.get(&conn).and_then(|it| it.server) else { return };
        let in_memory = self.log.after(cursor).map(|all| all.take_while(|it| it.zxid <= to).count() as u64);
        // Within an epoch each zxid is a txn.
        let counted =
            || (cursor.epoch() == to.epoch()).then(|| u64::from(to.counter().saturating_sub(cursor.counter())));
        let txns = in_memory.or_else(counted);
        self.outputs.push_back(Output::SyncBegins(SyncBegins { conn, server, how, to, txns }));
    }

    pub(super) fn on_snapshot_opened(&mut self, now_ms: u64, conn: ConnId, token: Token, zxid: Option<Zxid>) {
        let committed = self.log.committed();
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        let Stage::OpenSnapshot { token: asked, at_least } = handler.stage else { return };
        if asked != token {
            return;
        }
        let Some(zxid) = zxid.filter(|zxid| (at_least..=committed).contains(zxid)) else {
            return self.close(now_ms, conn, CloseReason::NoHistory);
        };
        handler.stage = Stage::Streaming { cursor: zxid, token: None };
        handler.push(ToLearner::Packet(Packet::Snap { zxid }));
        handler.push(ToLearner::Snapshot { zxid });
        self.tell_sync(conn, SyncHow::Snap(zxid), zxid);
        self.outputs.push_back(Output::Ready(conn));
        self.pump(now_ms, conn);
    }

    pub(super) fn on_log_read(&mut self, now_ms: u64, conn: ConnId, token: Token, part: Option<LogPart>) {
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        match handler.stage {
            Stage::ReadLog { token: asked, last } if asked == token => {
                let plan = plan_from_disk(last, part.as_ref(), &self.log);
                self.follow(now_ms, conn, plan, part);
            }
            Stage::Streaming { cursor, token: Some(asked) } if asked == token => {
                handler.stage = Stage::Streaming { cursor, token: None };
                // A part without anything new would be asked for again and again.
                let good = |part: &LogPart| part.before == cursor && part.is_continuous() && !part.proposals.is_empty();
                let Some(part) = part.filter(good) else {
                    return self.close(now_ms, conn, CloseReason::NoHistory);
                };
                self.stream(conn, part);
                self.pump(now_ms, conn);
            }
            _ => {}
        }
    }

    /// Queues what was read from the disk, so far as it is committed.
    fn stream(&mut self, conn: ConnId, part: LogPart) {
        let committed = self.log.committed();
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        let Stage::Streaming { cursor, .. } = &mut handler.stage else { return };
        let mut last = *cursor;
        for proposal in part.proposals {
            if proposal.zxid <= committed {
                last = proposal.zxid;
                handler.push_committed(proposal);
            }
        }
        handler.stage = Stage::Streaming { cursor: last, token: None };
        self.outputs.push_back(Output::Ready(conn));
    }

    /// Goes on with a stream: from the disk, or, once it has reached it, with what is in memory.
    pub(super) fn pump(&mut self, now_ms: u64, conn: ConnId) {
        let start = self.log.start();
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        let Stage::Streaming { cursor, token } = handler.stage else { return };
        if cursor >= start || self.options.has(Defect::GapServed) {
            self.finish(now_ms, conn, cursor.max(start));
        } else if token.is_none() && handler.queue_bytes <= self.options.learner_queue_bytes_max / STREAM_LOW_WATER_PART
        {
            let token = self.tokens.next();
            handler.stage = Stage::Streaming { cursor, token: Some(token) };
            self.outputs.push_back(Output::ReadLog { conn, token, from: cursor, up_to: start, is_first: false });
        }
    }

    /// Everything behind `cursor`, NEWLEADER, and from now on what happens.
    fn finish(&mut self, now_ms: u64, conn: ConnId, cursor: Zxid) {
        let new_leader = self.new_leader();
        let early = self.options.has(Defect::NewLeaderBeforeHistory);
        let committed = self.log.committed();
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        if early {
            handler.push(ToLearner::Packet(new_leader.clone()));
        }
        for proposal in self.log.after(cursor).into_iter().flatten() {
            if proposal.zxid <= committed {
                handler.push_committed(proposal.clone());
            } else if !handler.is_observer && !self.options.has(Defect::OutstandingLeftOut) {
                handler.push(ToLearner::Packet(proposal.packet()));
                handler.expect_ack(now_ms, proposal.zxid);
            }
        }
        if !early {
            handler.push(ToLearner::Packet(new_leader));
        }
        handler.is_forwarding = true;
        handler.stage = Stage::ExpectAckNewLeader;
        handler.read_deadline_ms = now_ms + self.options.init_limit_ms();
        self.outputs.push_back(Output::Ready(conn));
        // A follower that is there is needed.
        self.broadcast.set_oracle(self.oracle_stands_in());
    }
}

impl Handler {
    fn push_committed(&mut self, proposal: Proposal) {
        let zxid = proposal.zxid;
        self.sent = zxid;
        self.push(ToLearner::Packet(proposal.packet()));
        self.push(ToLearner::Packet(Packet::Commit { zxid }));
    }
}

impl Proposal {
    /// PROPOSAL.
    pub(super) fn packet(&self) -> Packet {
        Packet::Proposal { zxid: self.zxid, txn: self.txn.clone() }
    }
}
